"""What about a board could hurt: its answers, and what is judged from them."""
