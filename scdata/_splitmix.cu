// Counter-based random numbers (see _splitmix.py).

typedef long long i64;
typedef unsigned long long u64;

// Fills out, (n,), with the mixed counters.
extern "C" __global__ void mix_counters(const u64* counters, u64* out, i64 n) {
    const i64 step = (i64)gridDim.x * blockDim.x;
    for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += step) {
        u64 z = counters[i] + 0x9E3779B97F4A7C15ull;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
        out[i] = z ^ (z >> 31);
    }
}
