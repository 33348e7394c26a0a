"""`mapdr top`: views that one goes through by keys. What is looked at is gathered off the drawing thread."""
