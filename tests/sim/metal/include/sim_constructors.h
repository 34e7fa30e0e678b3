// A vector type followed by a parenthesis is a constructor call; alone it stays a type.
#pragma once

#define float2(...) metal::sim_vector<float, 2>(__VA_ARGS__)
#define float3(...) metal::sim_vector<float, 3>(__VA_ARGS__)
#define float4(...) metal::sim_vector<float, 4>(__VA_ARGS__)
#define half2(...) metal::sim_vector<half, 2>(__VA_ARGS__)
#define half3(...) metal::sim_vector<half, 3>(__VA_ARGS__)
#define half4(...) metal::sim_vector<half, 4>(__VA_ARGS__)
#define int2(...) metal::sim_vector<int, 2>(__VA_ARGS__)
#define int4(...) metal::sim_vector<int, 4>(__VA_ARGS__)
#define uint2(...) metal::sim_vector<uint, 2>(__VA_ARGS__)
#define uint3(...) metal::sim_vector<uint, 3>(__VA_ARGS__)
#define uint4(...) metal::sim_vector<uint, 4>(__VA_ARGS__)
#define ulong2(...) metal::sim_vector<ulong, 2>(__VA_ARGS__)
