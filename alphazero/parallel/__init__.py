"""The same work over Ray: a cluster to join or to start, workers in it, and a learner of several ranks.

    cluster   joins a cluster, or starts one of our own on this machine
    crew      workers: the crew of a training run or a benchmark, whose tasks survive their deaths
    gang      the learner as data-parallel ranks

Nothing else of the engine imports this package or Ray.
"""
