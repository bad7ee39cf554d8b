"""The rules of connect-four written again on lists, and games that fill the board."""

from __future__ import annotations

FULL_BOARDS = {
    "a draw": ("332424247344422317127777316156551361565665", 0.0),
    "won with the last stone": ("132233342462262453311116165766775775754454", 1.0),
}


class ListRules:
    """The rules on a list of columns, each a list of marks from the bottom up."""

    def __init__(self) -> None:
        self.columns: list[list[str]] = [[] for _ in range(7)]
        self.mover = "x"
        self.done = False

    def legal(self) -> list[int]:
        return [column for column in range(7) if len(self.columns[column]) < 6]

    def at(self, column: int, row: int) -> str:
        inside = 0 <= column < 7 and 0 <= row < len(self.columns[column])
        return self.columns[column][row] if inside else "."

    def play(self, column: int) -> bool:
        """Whether the stone dropped into the column wins."""
        self.columns[column].append(self.mover)
        row = len(self.columns[column]) - 1
        won = False
        for across, up in ((1, 0), (0, 1), (1, 1), (1, -1)):
            for start in range(-3, 1):
                line = [self.at(column + across * (start + i), row + up * (start + i)) for i in range(4)]
                won = won or line == [self.mover] * 4
        self.done = won or not self.legal()
        self.mover = "o" if self.mover == "x" else "x"
        return won

    def planes(self) -> list[list[list[float]]]:
        other = "o" if self.mover == "x" else "x"
        return [
            [[float(self.at(column, row) == mark) for column in range(7)] for row in range(5, -1, -1)]
            for mark in (self.mover, other)
        ]
