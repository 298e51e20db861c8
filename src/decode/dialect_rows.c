/*-------------------------------------------------------------------------
 *
 * dialect_rows.c
 *    Aspects of a dialect that stand in the values: header and decimal mark.
 *
 * Columns vote.  A column of numbers under a word speaks for a header, one of
 * numbers from its first value against it; columns of words say little, and
 * where nothing else is there the confidence stays low.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "decode/dialect.h"

#define MAX_COLUMNS 200

/*
 * cell_at returns a cell of a record; its length is -1 when there is none.
 */
static const char *
cell_at(const DialectRows *rows, int record, int column, int *length)
{
	const CsvCell *cell;

	*length = -1;
	if (rows->first[record] + column >= rows->first[record + 1])
		return NULL;
	cell = &rows->cells[rows->first[record] + column];
	*length = cell->end - cell->begin;
	return rows->text + cell->begin;
}

/*
 * looks_like_name tells whether a text is what people call columns.
 */
static bool
looks_like_name(const char *text, int length)
{
	static const char *const names[] = {"id", "name", "date", "email", "city", "country", "type",
										"status", "amount", "price", "code", "title", "address",
										"phone", "created", "updated", "value", "description"};

	for (int i = 0; i < lengthof(names); i++)
		if (strlen(names[i]) == length && pg_strncasecmp(names[i], text, length) == 0)
			return true;
	return length > 3 && (memchr(text, '_', length) != NULL) && memchr(text, ' ', length) == NULL;
}

/*
 * vote_on_text weighs the first value of a column of words.
 */
static double
vote_on_text(const DialectRows *rows, int column, const char *head, int head_length)
{
	int			same_length = 0;
	int			values = 0;
	int			equal = 0;
	int			lengths = -1;

	for (int i = 1; i < rows->nrecords; i++)
	{
		int			length;
		const char *text = cell_at(rows, i, column, &length);

		if (length <= 0)
			continue;
		values++;
		if (lengths < 0)
			lengths = length;
		same_length += length == lengths;
		equal += length == head_length && memcmp(text, head, length) == 0;
	}
	if (equal > 0)
		return -0.5;
	if (looks_like_name(head, head_length))
		return 0.7;
	/* codes of one length under a word of another */
	if (values >= 3 && same_length == values && lengths != head_length)
		return 0.4;
	return 0.0;
}

/*
 * vote returns what a column says about the first record: > 0 it is a header.
 */
static double
vote(const DialectRows *rows, int column)
{
	int			counts[DIALECT_OTHER + 1] = {0};
	int			values = 0;
	int			length;
	const char *head = cell_at(rows, 0, column, &length);
	DialectType head_type;

	if (length < 0)
		return 0.0;
	head_type = etl_dialect_type(head, length);
	for (int i = 1; i < rows->nrecords; i++)
	{
		int			cell_length;
		const char *text = cell_at(rows, i, column, &cell_length);
		DialectType type = cell_length < 0 ? DIALECT_EMPTY : etl_dialect_type(text, cell_length);

		counts[type]++;
		values += type != DIALECT_EMPTY;
	}
	if (head_type == DIALECT_EMPTY)
		return -0.3;
	if (head_type == DIALECT_NUMBER || head_type == DIALECT_TIME || head_type == DIALECT_CODE)
		return -1.0;
	for (int type = DIALECT_NUMBER; type <= DIALECT_CODE; type++)
		if (values > 0 && counts[type] >= 0.8 * values)
			return head_type == type ? -1.0 : 1.0;
	return vote_on_text(rows, column, head, length);
}

/*
 * header_is_possible: no name may come twice.
 */
static bool
header_is_possible(const DialectRows *rows, int columns)
{
	for (int i = 0; i < columns; i++)
		for (int j = 0; j < i; j++)
		{
			int			a_length;
			int			b_length;
			const char *a = cell_at(rows, 0, i, &a_length);
			const char *b = cell_at(rows, 0, j, &b_length);

			if (a_length > 0 && a_length == b_length && memcmp(a, b, a_length) == 0)
				return false;
		}
	return true;
}

/*
 * etl_dialect_find_header decides whether the first record names the columns.
 */
void
etl_dialect_find_header(EtlDialect *dialect, const DialectRows *rows)
{
	EtlDialectAspect *aspect = &dialect->aspects[ETL_DIALECT_HEADER];
	int			columns = Min(rows->first[1] - rows->first[0], MAX_COLUMNS);
	double		sum = 0.0;

	if (aspect->given)
		return;
	for (int i = 0; i < columns; i++)
		sum += vote(rows, i);
	if (!header_is_possible(rows, columns))
		sum = Min(sum, 0.0) - 1.0;
	dialect->header = sum >= 0.0;
	aspect->confidence = 0.5 + 0.5 * tanh(fabs(sum));
	if (rows->nrecords == 1)
		aspect->confidence = Min(aspect->confidence, 0.6);
	if (aspect->confidence < 0.9)
		aspect->doubt = rows->nrecords == 1 ? "there is one record only" :
											  "the first record looks much like the others";
}

/*
 * decide_marks chooses between point and comma by the numbers of each form.
 */
static void
decide_marks(EtlDialect *dialect, const int *count)
{
	EtlDialectAspect *aspect = &dialect->aspects[ETL_DIALECT_DECIMAL];
	int			point = count[MARKS_POINT];
	int			comma = count[MARKS_COMMA];

	dialect->decimal = comma > point ? ',' : '.';
	if (point + comma > 0)
	{
		aspect->confidence = (double) Max(point, comma) / (point + comma);
		if (aspect->confidence < 1.0)
			aspect->doubt = "numbers are written with a point and with a comma";
		return;
	}
	if (count[MARKS_EITHER_POINT] + count[MARKS_EITHER_COMMA] == 0)
		return;
	/* 1.234 among commas as delimiters is most likely a fraction; 1,234 may be either */
	aspect->confidence = count[MARKS_EITHER_COMMA] == 0 && dialect->delimiter == ',' ? 0.8 : 0.5;
	aspect->doubt = count[MARKS_EITHER_COMMA] > 0 ? "1,234 may be a thousand or a fraction" :
													"1.234 may be a thousand or a fraction";
}

/*
 * etl_dialect_find_decimal finds the marks of numbers.
 */
void
etl_dialect_find_decimal(EtlDialect *dialect, const DialectRows *rows)
{
	EtlDialectAspect *aspect = &dialect->aspects[ETL_DIALECT_DECIMAL];
	int			count[MARKS_EITHER_COMMA + 1] = {0};
	int			grouped = 0;
	int			columns = Min(dialect->columns, MAX_COLUMNS);

	if (aspect->given)
		return;
	aspect->confidence = 1.0;
	dialect->decimal = '.';
	for (int column = 0; column < columns; column++)
	{
		int			found[MARKS_EITHER_COMMA + 1] = {0};
		int			groups = 0;
		int			numbers = 0;
		int			values = 0;

		for (int i = dialect->header ? 1 : 0; i < rows->nrecords; i++)
		{
			int			length;
			const char *text = cell_at(rows, i, column, &length);
			DialectType type = length < 0 ? DIALECT_EMPTY : etl_dialect_type(text, length);
			bool		both;

			values += type != DIALECT_EMPTY;
			numbers += type == DIALECT_NUMBER;
			if (type != DIALECT_NUMBER)
				continue;
			found[etl_dialect_marks(text, length, &both)]++;
			groups += both;
		}
		if (values == 0 || numbers < 0.8 * values)
			continue;
		for (int i = 0; i < lengthof(found); i++)
			count[i] += found[i];
		grouped += groups;
	}
	decide_marks(dialect, count);
	if (grouped > 0 || count[dialect->decimal == '.' ? MARKS_EITHER_COMMA : MARKS_EITHER_POINT] > 0)
		dialect->thousands = dialect->decimal == '.' ? ',' : '.';
}
