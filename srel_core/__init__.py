"""Local elasticity of neural networks: S_rel measured, fitted and solved in closed form."""
