// Rank order of rows that fit in shared memory: one block sorts one row.
//
// A row is sorted by a bitonic network that compares the inverted bits of positive float64 values, which sort as the values
// do, then a number of each entry: no two entries are equal, so there is one sorted order.
//
// Shared memory: 12 bytes for each of `capacity` entries, a power of two. Rows with more entries are left as they are.

typedef long long i64;
typedef unsigned long long u64;

// Sort n entries by rising key, then by rising number; any thread may have set them. Room for a power of two.
static __device__ void sort_row(u64* key, unsigned* number, int n) {
    int size = 1;
    while (size < n) {
        size <<= 1;
    }
    // the rest of the network is filled with entries that end up last
    for (int i = n + threadIdx.x; i < size; i += blockDim.x) {
        key[i] = ~0ull;
        number[i] = ~0u;
    }
    for (int width = 2; width <= size; width <<= 1) {
        for (int step = width >> 1; step > 0; step >>= 1) {
            __syncthreads();
            for (int pair = threadIdx.x; pair < size >> 1; pair += blockDim.x) {
                const int low = ((pair & ~(step - 1)) << 1) | (pair & (step - 1));
                const int high = low + step;
                const u64 a = key[low], b = key[high];
                const bool after = a > b || (a == b && number[low] > number[high]);
                if (after == ((low & width) == 0)) {
                    key[low] = b;
                    key[high] = a;
                    const unsigned moved = number[low];
                    number[low] = number[high];
                    number[high] = moved;
                }
            }
        }
    }
    __syncthreads();
}

// Fills order, (T,), with the entries of each row by falling value, equal ones in their order; `bits` are those of the values.
extern "C" __global__ void rank_rows(const i64* indptr, const u64* bits, int capacity, i64* order) {
    extern __shared__ u64 shared[];
    u64* key = shared;
    unsigned* number = (unsigned*)(shared + capacity);
    const i64 start = indptr[blockIdx.x];
    const i64 n = indptr[blockIdx.x + 1] - start;
    if (n > capacity) {
        return;
    }
    for (i64 i = threadIdx.x; i < n; i += blockDim.x) {
        key[i] = ~bits[start + i];
        number[i] = (unsigned)i;
    }
    sort_row(key, number, (int)n);
    for (i64 i = threadIdx.x; i < n; i += blockDim.x) {
        order[start + i] = start + number[i];
    }
}

// Fills token_ids, (T,), with those of each cell by falling x / n · target_sum / median, equal ones by rising gene.
extern "C" __global__ void rank_tokens(const i64* indptr, const int* genes, const int* counts, const i64* total,
                                       double target_sum, const double* medians, const int* gene_tokens, int capacity,
                                       int* token_ids) {
    extern __shared__ u64 shared[];
    u64* key = shared;
    unsigned* number = (unsigned*)(shared + capacity);
    const i64 start = indptr[blockIdx.x];
    const i64 n = indptr[blockIdx.x + 1] - start;
    if (n > capacity) {
        return;
    }
    const double size = (double)total[blockIdx.x];
    for (i64 i = threadIdx.x; i < n; i += blockDim.x) {
        const int gene = genes[start + i];
        const double value = (double)counts[start + i] / size * target_sum / medians[gene];
        key[i] = ~(u64)__double_as_longlong(value);
        number[i] = (unsigned)gene;
    }
    sort_row(key, number, (int)n);
    for (i64 i = threadIdx.x; i < n; i += blockDim.x) {
        token_ids[start + i] = gene_tokens[number[i]];
    }
}
