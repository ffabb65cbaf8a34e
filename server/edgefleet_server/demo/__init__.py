"""The whole job on one machine: every part as a process of its own, four devices, real requests, two bad releases."""
