"""The runner: accepts tasks, runs them on instances of algorithms, tells what became of them."""
