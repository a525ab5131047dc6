// Binomial thinning: one block thins one cell, molecule by molecule.

typedef long long i64;
typedef unsigned long long u64;

static __device__ u64 splitmix64(u64 counter) {
    u64 z = counter + 0x9E3779B97F4A7C15ull;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
}

// Fills left, (T,), with what is left of each count.
//
// As many genes as there are threads are taken at a time. Their molecules stand in one row, cut evenly among the threads,
// which look up whose molecule each of theirs is: a gene with many molecules holds nobody up.
//
// Shared memory: 20 bytes a thread.
extern "C" __global__ void thin_cells(const i64* indptr, const int* counts, const unsigned* token_ids, const bool* thinned,
                                      const u64* share, const u64* gene_keys, int* left) {
    extern __shared__ u64 shared[];
    const int me = threadIdx.x, n_threads = blockDim.x;
    u64* key = shared;
    i64* ends = (i64*)(key + n_threads);
    int* stay = (int*)(ends + n_threads);
    const i64 start = indptr[blockIdx.x], stop = indptr[blockIdx.x + 1];
    if (!thinned[blockIdx.x]) {
        for (i64 i = start + me; i < stop; i += n_threads) {
            left[i] = counts[i];
        }
        return;
    }
    const u64 base = gene_keys[blockIdx.x], b = share[blockIdx.x];
    for (i64 tile = start; tile < stop; tile += n_threads) {
        const i64 own = tile + me;
        key[me] = own < stop ? splitmix64(base + token_ids[own]) : 0;
        ends[me] = own < stop ? counts[own] : 0;
        stay[me] = 0;
        __syncthreads();
        for (int step = 1; step < n_threads; step <<= 1) {
            const i64 before = me >= step ? ends[me - step] : 0;
            __syncthreads();
            ends[me] += before;
            __syncthreads();
        }
        const i64 molecules = ends[n_threads - 1];
        for (i64 m = me; m < molecules; m += n_threads) {
            int gene = 0, last = n_threads - 1;  // the first whose molecules end after m
            while (gene < last) {
                const int middle = (gene + last) >> 1;
                if (ends[middle] > m) {
                    last = middle;
                } else {
                    gene = middle + 1;
                }
            }
            const i64 number = gene > 0 ? m - ends[gene - 1] : m;
            if (splitmix64(key[gene] + (u64)number) < b) {
                atomicAdd(&stay[gene], 1);
            }
        }
        __syncthreads();
        if (own < stop) {
            left[own] = stay[me];
        }
    }
}
