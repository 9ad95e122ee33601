"""The contents of CSV files."""

ROWS = 20


PRICES = "".join(f"{row},{row * row / 4},{100 - row},{'cat' if row % 3 else 'dog'}\n" for row in range(ROWS))


TABLE = f"area,rooms,price,pet\n{PRICES}"
