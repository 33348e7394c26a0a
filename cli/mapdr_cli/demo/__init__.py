"""What only the demo needs: its surroundings, its modalities, and the balance at its end."""
