"""Arm by emulation: `make arm-lab` runs the device's package on emulated Cortex processors, `make arm-lab-compress` finalists.

What is fetched and built is kept in .arm-lab (or where ARM_LAB says) and used again. Nothing is installed on this machine.
"""
