"""Runs independent tasks side by side, in threads or over Ray, and learns with several processes.

    executor             the protocol of executors, and threads of this process
    ray_cluster          joins a Ray cluster, or starts one of our own on this machine
    ray_remains          removes what such a cluster leaves behind, and has the last word
    ray_executor         worker processes over Ray; tasks survive the workers' deaths
    distributed_learner  data-parallel learning, by ranks over Ray
    rank                 one process of the distributed learner
    ray_setup            cluster, workers and ranks of a training run, from its configuration

`executor` alone knows nothing of Ray, and the others load only when they are used.
"""
