"""Looking into results: what a network loses, and a page to look through spikes."""
