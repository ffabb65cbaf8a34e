"""The workload on which our compression stands beside other tools: three small networks on the whole of Fashion-MNIST."""
