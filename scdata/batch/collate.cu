// Ragged cells as rows of rectangles: one block writes one row.

typedef long long i64;
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned u32;
typedef unsigned long long u64;

template <class T>
static __device__ void pad_row(const i64* indptr, const T* flat, T* out, i64 width, T pad) {
    const i64 start = indptr[blockIdx.x], n = indptr[blockIdx.x + 1] - start;
    T* row = out + blockIdx.x * width;
    for (i64 i = threadIdx.x; i < width; i += blockDim.x) {
        row[i] = i < n ? flat[start + i] : pad;
    }
}

// Fill out, (B, width), with the entries of each row and pad behind them; by the size of an entry, whatever it means.
extern "C" __global__ void pad_1(const i64* indptr, const u8* flat, u8* out, i64 width, u8 pad) {
    pad_row(indptr, flat, out, width, pad);
}

extern "C" __global__ void pad_2(const i64* indptr, const u16* flat, u16* out, i64 width, u16 pad) {
    pad_row(indptr, flat, out, width, pad);
}

extern "C" __global__ void pad_4(const i64* indptr, const u32* flat, u32* out, i64 width, u32 pad) {
    pad_row(indptr, flat, out, width, pad);
}

extern "C" __global__ void pad_8(const i64* indptr, const u64* flat, u64* out, i64 width, u64 pad) {
    pad_row(indptr, flat, out, width, pad);
}

// Fills out, (B, width): 1 at entries, 0 behind them.
extern "C" __global__ void mask_rows(const i64* indptr, bool* out, i64 width) {
    const i64 n = indptr[blockIdx.x + 1] - indptr[blockIdx.x];
    bool* row = out + blockIdx.x * width;
    for (i64 i = threadIdx.x; i < width; i += blockDim.x) {
        row[i] = i < n;
    }
}

template <class T>
static __device__ void dense_row(const i64* indptr, const int* ids, const T* values, const int* column_of, T* out, i64 width) {
    T* row = out + blockIdx.x * width;
    for (i64 i = threadIdx.x; i < width; i += blockDim.x) {
        row[i] = 0;
    }
    __syncthreads();
    for (i64 i = indptr[blockIdx.x] + threadIdx.x; i < indptr[blockIdx.x + 1]; i += blockDim.x) {
        const int column = column_of[ids[i]];
        if (column >= 0) {
            row[column] = values[i];
        }
    }
}

// Fill out, (B, width), with values in the columns of their ids, distinct within a row, and 0 elsewhere. A column of −1: none.
extern "C" __global__ void dense_4(const i64* indptr, const int* ids, const u32* values, const int* column_of, u32* out,
                                   i64 width) {
    dense_row(indptr, ids, values, column_of, out, width);
}

extern "C" __global__ void dense_8(const i64* indptr, const int* ids, const u64* values, const int* column_of, u64* out,
                                   i64 width) {
    dense_row(indptr, ids, values, column_of, out, width);
}
