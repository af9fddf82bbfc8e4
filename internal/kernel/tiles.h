// Products on a processor's matrix unit (AMX), to the accuracy of fp32.
#ifndef STILLHOUSE_TILES_H
#define STILLHOUSE_TILES_H

// A side of a product is packed in panels of SH_TILES_PANEL lines: rows of op(A), or columns of op(B). What depth and lines are
// short of a whole panel and of SH_TILES_PANEL in depth is 0. An element takes SH_TILES_BYTES.
enum { SH_TILES_PANEL = 32, SH_TILES_BYTES = 6 };

// Whether there is such a unit, and the system lets this process use it.
int sh_tiles(void);

// Packs lines of alpha·op(X), k deep, where X is row-major, its rows ld apart; `to` is aligned to 64 bytes.
void sh_tiles_pack(int columns, int trans, const float *x, long ld, long lines, long k, float alpha, void *to);

// C [m, n] = the product of two packed sides, added to C if so. It goes through the rows of A, or the columns of B, once; the other
// side is read again for every panel of them and is best small enough to stay in the cache.
void sh_tiles_multiply(int by_rows, long m, long n, long k, const void *packed_a, const void *packed_b, float *c, long ldc, int add);

#endif
