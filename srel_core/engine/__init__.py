"""How one measurement is computed: the definition, and each fast way in a module of its own."""
