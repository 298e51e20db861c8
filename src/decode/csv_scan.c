/*-------------------------------------------------------------------------
 *
 * csv_scan.c
 *    Where one CSV record and its fields begin and end.
 *
 * 64 bytes at a time are compared with the few bytes that matter; the set
 * bits are then walked one by one, so plain text costs nothing per byte.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "port/pg_bitutils.h"

#include "decode/csv_scan.h"
#include "decode/decoder.h"

typedef enum CsvState
{
	PLAIN,						/* at the start of a field or inside an unquoted one */
	QUOTED,
	CLOSED						/* behind the closing quote */
} CsvState;

/*
 * special_bytes sets the bit of every byte among 64 that may end something.
 */
static inline uint64
special_bytes(const CsvDialect *dialect, const char *p)
{
	uint64		mask = 0;
	int			i;

#ifdef __SSE2__
	__m128i		delimiter = _mm_set1_epi8(dialect->delimiter);
	__m128i		quote = _mm_set1_epi8(dialect->quote);
	__m128i		escape = _mm_set1_epi8(dialect->escape);
	__m128i		lf = _mm_set1_epi8('\n');
	__m128i		cr = _mm_set1_epi8('\r');

	for (i = 0; i < 4; i++)
	{
		__m128i		chunk = _mm_loadu_si128((const __m128i *) (p + 16 * i));
		__m128i		found = _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(chunk, delimiter),
												  _mm_cmpeq_epi8(chunk, quote)),
									 _mm_or_si128(_mm_cmpeq_epi8(chunk, lf),
												  _mm_cmpeq_epi8(chunk, cr)));

		found = _mm_or_si128(found, _mm_cmpeq_epi8(chunk, escape));
		mask |= (uint64) (uint32) _mm_movemask_epi8(found) << (16 * i);
	}
#else
	for (i = 0; i < 64; i++)
	{
		unsigned char c = p[i];

		if (c == dialect->delimiter || c == dialect->quote || c == dialect->escape ||
			c == '\n' || c == '\r')
			mask |= UINT64CONST(1) << i;
	}
#endif
	return mask;
}

static inline bool
is_blank(const char *from, const char *to)
{
	while (from < to && (*from == ' ' || *from == '\t'))
		from++;
	return from >= to;
}

/*
 * add_cell notes a field, or only counts it when there is no room.
 */
static inline void
add_cell(CsvScan *scan, size_t begin, size_t end, uint32 flags)
{
	if (scan->ncells == scan->maxcells && scan->grow)
	{
		scan->maxcells *= 2;
		scan->cells = repalloc(scan->cells, scan->maxcells * sizeof(CsvCell));
	}
	if (scan->ncells < scan->maxcells)
	{
		CsvCell    *cell = &scan->cells[scan->ncells];

		cell->begin = begin;
		cell->end = end;
		cell->flags = flags;
	}
	scan->ncells++;
}

/*
 * etl_csv_scan finds the record that begins at 'base'.  'eof': nothing
 * follows the bytes given; 'within_line': a quote must close in its line.
 * ETL_PADDING bytes behind 'available' are readable.
 */
CsvScanResult
etl_csv_scan(const CsvDialect *dialect, const char *base, size_t available,
			 bool eof, bool within_line, CsvScan *scan)
{
	CsvState	state = PLAIN;
	size_t		field = 0;		/* where the field begins */
	size_t		begin = 0;		/* its content, quotes excluded */
	size_t		end = 0;		/* the closing quote */
	size_t		ignored = 0;	/* bytes before this are dealt with */
	uint32		flags = 0;
	size_t		block;

	scan->ncells = 0;
	scan->newlines = 0;

	for (block = 0; block < available; block += 64)
	{
		uint64		mask = special_bytes(dialect, base + block);

		if (available - block < 64)
			mask &= (UINT64CONST(1) << (available - block)) - 1;

		while (mask)
		{
			size_t		at = block + pg_rightmost_one_pos64(mask);
			unsigned char c = base[at];

			mask &= mask - 1;
			if (at < ignored)
				continue;

			if (state == QUOTED)
			{
				if (c == dialect->escape && (c != dialect->quote || at + 1 < available || !eof))
				{
					unsigned char follower;

					if (at + 1 == available && !eof)
						return CSV_MORE;
					follower = at + 1 < available ? base[at + 1] : '\0';
					if (at + 1 < available &&
						(follower == dialect->quote || follower == dialect->escape))
					{
						flags |= CSV_ESCAPED;
						ignored = at + 2;
						continue;
					}
				}
				if (c == dialect->quote)
				{
					state = CLOSED;
					end = at;
				}
				else if (c == '\n' || c == '\r')
				{
					if (within_line)
						return CSV_UNCLOSED;
					if (c == '\n' || at + 1 == available || base[at + 1] != '\n')
						scan->newlines++;
				}
				continue;
			}

			if (c == dialect->delimiter || c == '\n' || c == '\r')
			{
				if (state == CLOSED)
				{
					if (at != end + 1 && !(dialect->trim && is_blank(base + end + 1, base + at)))
						return CSV_TEXT_AFTER_QUOTE;
				}
				else
				{
					begin = field;
					end = at;
				}
				if (c == '\r' && c != dialect->delimiter && at + 1 == available && !eof)
					return CSV_MORE;
				add_cell(scan, begin, end, flags);
				if (c != dialect->delimiter)
				{
					scan->length = at;
					scan->next = at + 1;
					if (c == '\r' && scan->next < available && base[scan->next] == '\n')
						scan->next++;
					return CSV_RECORD;
				}
				state = PLAIN;
				field = at + 1;
				flags = 0;
			}
			else if (c == dialect->quote)
			{
				if (state == CLOSED)
					return CSV_TEXT_AFTER_QUOTE;
				/* elsewhere in an unquoted field a quote is literal */
				if (at == field || (dialect->trim && is_blank(base + field, base + at)))
				{
					state = QUOTED;
					flags = CSV_QUOTED;
					begin = at + 1;
				}
			}
		}
	}

	if (!eof)
		return CSV_MORE;
	if (state == QUOTED)
		return CSV_UNCLOSED;
	if (state == CLOSED)
	{
		if (end + 1 != available && !(dialect->trim && is_blank(base + end + 1, base + available)))
			return CSV_TEXT_AFTER_QUOTE;
	}
	else
	{
		begin = field;
		end = available;
	}
	add_cell(scan, begin, end, flags);
	scan->length = scan->next = available;
	return CSV_RECORD;
}
