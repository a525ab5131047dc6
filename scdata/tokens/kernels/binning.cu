// Quantile bins of counts within each cell: one block bins one cell.

typedef long long i64;
typedef unsigned long long u64;

#define TABLE 256  // counts below this are binned through a table; larger ones are few

// The r-th smallest count of a cell, r from 0: `reached[v]` small counts are ≤ v, the `large` ones follow in order.
static __device__ double order_statistic(const int* reached, const int* large, int r) {
    const int n_small = reached[TABLE - 1];
    if (r >= n_small) {
        return (double)large[r - n_small];
    }
    int first = 0, last = TABLE - 1;
    while (first < last) {
        const int middle = (first + last) >> 1;
        if (reached[middle] > r) {
            last = middle;
        } else {
            first = middle + 1;
        }
    }
    return (double)first;
}

// How many of the rising edges are below a value; with `equal`, at or below it.
static __device__ int edges_below(const double* edges, int n_edges, double value, bool equal) {
    int first = 0, last = n_edges;
    while (first < last) {
        const int middle = (first + last) >> 1;
        if (edges[middle] < value || (equal && edges[middle] == value)) {
            first = middle + 1;
        } else {
            last = middle;
        }
    }
    return first;
}

// Fills low and high, (T,), the lowest and highest bin of each count. A cell with more than `capacity` counts of TABLE or
// more is left as it is, and skipped[cell] is 1, else 0.
//
// `probabilities` says where the n_edges quantiles are. The arithmetic of an edge is that of NumPy's linear rule, in the
// same order; the compiler must not join products and sums. `capacity` is a power of two.
//
// Shared memory: 8 · n_edges + 4 · (3 · TABLE + capacity + 1) bytes. At least TABLE threads.
extern "C" __global__ void quantile_bins(const i64* indptr, const int* counts, const double* probabilities, int n_edges,
                                         int capacity, int* low, int* high, unsigned char* skipped) {
    extern __shared__ u64 shared[];
    double* edges = (double*)shared;
    int* reached = (int*)(shared + n_edges);
    int* table_low = reached + TABLE;
    int* table_high = table_low + TABLE;
    int* large = table_high + TABLE;
    int* n_large = large + capacity;
    const i64 start = indptr[blockIdx.x];
    const int n = (int)(indptr[blockIdx.x + 1] - start);
    const int me = threadIdx.x;

    if (me < TABLE) {
        reached[me] = 0;
    }
    if (me == 0) {
        *n_large = 0;
    }
    __syncthreads();
    for (int i = me; i < n; i += blockDim.x) {
        const int count = counts[start + i];
        if (count < TABLE) {
            atomicAdd(&reached[count], 1);
        } else {
            const int place = atomicAdd(n_large, 1);
            if (place < capacity) {
                large[place] = count;
            }
        }
    }
    __syncthreads();
    const int found = *n_large;
    if (me == 0) {
        skipped[blockIdx.x] = found > capacity;
    }
    if (found > capacity) {
        return;
    }

    // from how many counts are v to how many are ≤ v
    for (int step = 1; step < TABLE; step <<= 1) {
        const int before = me < TABLE && me >= step ? reached[me - step] : 0;
        __syncthreads();
        if (me < TABLE) {
            reached[me] += before;
        }
        __syncthreads();
    }

    // the large counts in order: a bitonic network, filled up with the largest number
    int size = 1;
    while (size < found) {
        size <<= 1;
    }
    for (int i = found + me; i < size; i += blockDim.x) {
        large[i] = 0x7fffffff;
    }
    for (int width = 2; width <= size; width <<= 1) {
        for (int step = width >> 1; step > 0; step >>= 1) {
            __syncthreads();
            for (int pair = me; pair < size >> 1; pair += blockDim.x) {
                const int first = ((pair & ~(step - 1)) << 1) | (pair & (step - 1));
                const int a = large[first], b = large[first + step];
                if ((a > b) == ((first & width) == 0)) {
                    large[first] = b;
                    large[first + step] = a;
                }
            }
        }
    }
    __syncthreads();

    for (int e = me; e < n_edges && n > 0; e += blockDim.x) {
        const double position = (double)(n - 1) * probabilities[e];
        const int below = (int)position;
        const double weight = position - (double)below;
        const double left = order_statistic(reached, large, below);
        const double right = below + 1 < n ? order_statistic(reached, large, below + 1) : left;
        const double step = right - left;
        edges[e] = weight >= 0.5 ? right - step * (1.0 - weight) : left + step * weight;
    }
    __syncthreads();
    if (me < TABLE) {
        const int under = edges_below(edges, n_edges, (double)me, false);
        const int upto = edges_below(edges, n_edges, (double)me, true);
        table_low[me] = under < upto ? under + 1 : upto;
        table_high[me] = upto;
    }
    __syncthreads();
    for (int i = me; i < n; i += blockDim.x) {
        const int count = counts[start + i];
        if (count < TABLE) {
            low[start + i] = table_low[count];
            high[start + i] = table_high[count];
        } else {
            const int under = edges_below(edges, n_edges, (double)count, false);
            const int upto = edges_below(edges, n_edges, (double)count, true);
            low[start + i] = under < upto ? under + 1 : upto;
            high[start + i] = upto;
        }
    }
}
