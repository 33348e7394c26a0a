"""The images themselves: files, and what makes them safe."""
