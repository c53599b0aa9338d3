"""Figures: each function draws a result on axes and computes nothing."""
