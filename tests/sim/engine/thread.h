// What a GPU thread knows about itself.  The engine fills it; the CUDA header and the Metal
// header read it, so this file must compile as C++ and as "C++ for OpenCL".
#pragma once

struct SimThread {
    unsigned position[3];    // in its group
    unsigned group[3];       // of the group in the grid
    unsigned group_size[3];  // threads per group (smaller at the edge of a non-uniform grid)
    unsigned groups[3];      // groups per grid
    unsigned in_grid[3];     // position in the grid
    unsigned grid_size[3];   // threads per grid
    unsigned linear;         // position in its group as one number
    unsigned lane;           // position in its warp (simdgroup)
    unsigned warp;           // warp in its group
    unsigned warp_size;
    unsigned warps;          // warps per group
};
