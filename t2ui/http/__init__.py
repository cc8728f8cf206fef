"""The door in front of the app: who comes in, how often, to which routes, and what is sent out."""
