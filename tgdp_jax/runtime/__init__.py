"""How work is carried out on a machine: devices, processes, interruption, files, costs."""
