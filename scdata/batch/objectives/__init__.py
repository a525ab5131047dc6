"""Objectives: what a model is asked about a cell, as inputs and targets beside the tokens of a batch. One file each."""
