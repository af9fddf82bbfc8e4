// The threads that run a program. Each operation's pieces are shared out among the threads, each of which takes those of
// its own share one by one, in order, so that it reads memory in a line, and then what the others have left. The next
// operation begins when all pieces are done. A thread that comes late, or not at all because the machine is busy, delays
// nothing: its share is taken by the others.
#define _GNU_SOURCE // madvise
#include "decode.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define OPEN ((int64_t)1 << 32)

int64_t shd_panel_bytes(int32_t type, int32_t k) {
	const int64_t n = k;
	switch (type) {
	case SHD_Q8: return (n + SHD_QUANT - 1) / SHD_QUANT * SHD_BYTES;
	case SHD_BF16: return (n + 1) / 2 * 2 * SHD_PANEL * 2;
	default: return n * SHD_PANEL * 4;
	}
}

int shd_row_blocks(const shd_op *op, int rows) {
	const int64_t size = (int64_t)op->w.k * (op->w.type == SHD_Q8 ? 2 : 4);
	int64_t block = ((int64_t)256 << 10) / size / 24 * 24;
	if (block < 24) block = 24;
	return (int)((rows + block - 1) / block);
}

static int pieces(const shd_step *s, const shd_op *op, int threads, int *grain) {
	const int rows = op->wanted ? s->picks : s->rows, panels = (op->w.n + SHD_PANEL - 1) / SHD_PANEL;
	*grain = 1;
	switch (op->kind) {
	case SHD_PRODUCT: return (panels + op->group - 1) / op->group * shd_row_blocks(op, rows);
	case SHD_ATTEND: return s->spans * s->kv_heads;
	case SHD_LOSS: return s->picks;
	default:
		*grain = rows / (8 * threads) + 1;
		return (rows + *grain - 1) / *grain;
	}
}

static void pause_a_little(int *spins) {
	if (++*spins < 4000) {
#if defined(__x86_64__)
		__builtin_ia32_pause();
#endif
	} else {
		sched_yield();
	}
}

static void run(shd_program *p, int thread) {
	const shd_step *s = &p->step;
	const int threads = p->threads;
	for (int i = 0; i < p->n; i++) {
		const shd_op *op = &p->ops[i];
		int grain, mine = 0;
		const int64_t all = pieces(s, op, threads, &grain);
		const int units = op->kind == SHD_PRODUCT || op->kind == SHD_ATTEND || op->kind == SHD_LOSS ? (int)all : op->wanted ? s->picks : s->rows;
		for (int other = 0; other < threads; other++) {
			const int share = (thread + other) % threads;
			const int begin = (int)(all * share / threads), end = (int)(all * (share + 1) / threads);
			int32_t *claim = &p->claims[share * p->n + i];
			while (__atomic_load_n(claim, __ATOMIC_RELAXED) < end - begin) {
				const int at = begin + __atomic_fetch_add(claim, 1, __ATOMIC_RELAXED);
				if (at >= end) break;
				p->kernels->run[op->kind](s, op, at * grain, (at + 1) * grain < units ? (at + 1) * grain : units, thread);
				mine++;
			}
		}
		if (mine) __atomic_fetch_add(&p->done[i], mine, __ATOMIC_RELEASE);
		for (int spins = 0; __atomic_load_n(&p->done[i], __ATOMIC_ACQUIRE) < all;) pause_a_little(&spins);
	}
}

// Runs the program on the calling thread and on those that join.
void shd_open(shd_program *p, int threads) {
	p->threads = threads;
	memset(p->claims, 0, sizeof(int32_t) * p->n * threads);
	memset(p->done, 0, sizeof(int32_t) * p->n);
	__atomic_store_n(&p->state, OPEN, __ATOMIC_RELEASE);
	run(p, 0);
	__atomic_fetch_and(&p->state, ~OPEN, __ATOMIC_ACQ_REL);
	for (int spins = 0; __atomic_load_n(&p->state, __ATOMIC_ACQUIRE) != 0;) pause_a_little(&spins);
}

// Helps with the program that is open; returns at once when none is. Each thread has its own number, from 1 on.
void shd_join(shd_program *p, int thread) {
	int64_t state = __atomic_load_n(&p->state, __ATOMIC_ACQUIRE);
	do {
		if (!(state & OPEN)) return;
	} while (!__atomic_compare_exchange_n(&p->state, &state, state + 1, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE));
	if (thread < p->threads) run(p, thread);
	__atomic_fetch_sub(&p->state, 1, __ATOMIC_ACQ_REL);
}

void *shd_map(size_t bytes) {
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED) return NULL;
#ifdef MADV_HUGEPAGE
	madvise(p, bytes, MADV_HUGEPAGE);
#endif
	return p;
}

void shd_unmap(void *p, size_t bytes) { munmap(p, bytes); }

void *shd_block_new(int64_t floats) {
	void *block = aligned_alloc(64, (floats * 4 + 63) / 64 * 64);
	if (block) memset(block, 0, floats * 4);
	return block;
}

void shd_block_copy(uintptr_t to, uintptr_t from, int64_t floats) { memcpy((void *)to, (const void *)from, floats * 4); }

void shd_block_free(uintptr_t block) { free((void *)block); }
