/*-------------------------------------------------------------------------
 *
 * csv_scan.h
 *    Where one CSV record and its fields begin and end.
 *
 * The hot loop of CSV, alone: it looks at bytes only, copies nothing and
 * knows neither names nor types.  Called by csv.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_CSV_SCAN_H
#define ETL_CSV_SCAN_H

#define CSV_QUOTED	1			/* the field stood in quotes */
#define CSV_ESCAPED 2			/* and holds escaped quotes */

typedef struct CsvCell
{
	uint32		begin;			/* offsets from the record's first byte, quotes excluded */
	uint32		end;
	uint32		flags;
} CsvCell;

typedef struct CsvDialect
{
	unsigned char delimiter;
	unsigned char quote;		/* = delimiter when there is no quoting */
	unsigned char escape;
	bool		quoting;
	bool		trim;
} CsvDialect;

typedef enum CsvScanResult
{
	CSV_RECORD,					/* a whole record */
	CSV_MORE,					/* it does not end within the bytes given */
	CSV_TEXT_AFTER_QUOTE,		/* "abc"d */
	CSV_UNCLOSED				/* a quote without its closing quote */
} CsvScanResult;

typedef struct CsvScan
{
	CsvCell    *cells;
	int			maxcells;
	bool		grow;			/* cells may be enlarged: the header */
	int			ncells;			/* all of the record, also those beyond maxcells */
	size_t		length;			/* without the line end */
	size_t		next;			/* offset of the next record */
	int64		newlines;		/* inside quotes */
} CsvScan;

extern CsvScanResult etl_csv_scan(const CsvDialect *dialect, const char *base, size_t available,
								  bool eof, bool within_line, CsvScan *scan);

#endif							/* ETL_CSV_SCAN_H */
