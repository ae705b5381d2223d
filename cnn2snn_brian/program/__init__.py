"""The compiled C++ program of a network: built once, kept, and run many times."""
