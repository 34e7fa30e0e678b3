"""The lazy graph, and which kernels compute it: nodes, rewriting, fusion, the schedule."""
