"""From groups of fused nodes to the text of kernels: lowering, the loop IR, the writer."""
