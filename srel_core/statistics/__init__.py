"""From measurements to statements: class matrices, AUC, intervals, phases; without torch."""
