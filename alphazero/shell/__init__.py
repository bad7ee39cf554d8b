"""Play and explore in a terminal: two shells over one board; and the command-line frame of all scripts.

    play.PlayShell          two players, each a person or a program
    explore.ExploreShell    one position after another, and what the agent thinks of it
    cli                     the frame of scripts/ and benchmarks/

Both shells read a command a line, from a person or a pipe, and print plain text where there is no terminal.
A command `undo` is the method `do_undo`, and its docstring is what `help` says of it: how it is
typed, a colon, what it does.

Nothing is imported here, so that `cli` comes before torch.
"""
