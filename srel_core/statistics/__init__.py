"""From measurements to statements, on NumPy arrays: no torch.

by_class              class matrices and the same-class AUC of one measurement
intervals             bootstrap over samples and runs, and what an interval says
class_summary         both over all steps of several runs
variance_components   what samples, probes, pairs and runs add to a summary's variance
planner               the cheapest measurement of a wanted precision
phases, hinge         two phases fitted to a curve, and the least squares of its hinge
"""
