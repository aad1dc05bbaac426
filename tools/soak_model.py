"""The smallest model, loaded once; the processes of all sweeps are forked from one that has it."""

from saif_helpers.hub.loading import load

MODEL = load("organism", "S")
