/*-------------------------------------------------------------------------
 *
 * fault.c
 *    Whose fault an error is: the row's, or of what is around it.
 *
 * What a row can be blamed for makes a reject that names the constraint;
 * everything else ends the load, since it would hit the next row too.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "common/errors.h"
#include "load/landing.h"

/* Classes that say nothing about the row at work. */
static const char *const other_classes[] = {
	"08", "0A", "0L", "0P", "20", "24", "25", "26", "28", "2B", "2D", "34", "3B", "3D", "3F", "40",
	"42", "53", "55", "57", "58", "72", "ET", "F0", "XX"};

/*
 * is_policy tells whether a row was refused by a policy or by the condition of
 * a view; the code of the one says only that something is not permitted.
 */
static bool
is_policy(const ErrorData *error)
{
	return error->sqlerrcode == ERRCODE_INSUFFICIENT_PRIVILEGE && error->funcname != NULL &&
		   strcmp(error->funcname, "ExecWithCheckOptions") == 0;
}

/*
 * etl_fault_of_row: see landing.h.
 */
bool
etl_fault_of_row(const ErrorData *error)
{
	const char *code = unpack_sql_state(error->sqlerrcode);

	if (is_policy(error))
		return true;
	for (int i = 0; i < lengthof(other_classes); i++)
		if (strncmp(code, other_classes[i], 2) == 0)
			return false;
	return error->sqlerrcode != ERRCODE_STATEMENT_TOO_COMPLEX;
}

/*
 * named_constraint takes the name of a constraint from a message, where
 * another server sent nothing else; NULL: it names none.
 */
static char *
named_constraint(const char *message)
{
	const char *begin = strstr(message, " constraint \"");
	const char *end;

	if (begin == NULL)
		return NULL;
	begin += strlen(" constraint \"");
	end = strchr(begin, '"');
	return end != NULL && end > begin ? pnstrdup(begin, end - begin) : NULL;
}

/*
 * etl_fault_reason: see landing.h.
 */
void
etl_fault_reason(EtlReasons *reasons, const ErrorData *error)
{
	const char *check = error->constraint_name;

	if (check == NULL &&
		ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION)
		check = named_constraint(error->message);
	if (check != NULL)
		;
	else if (error->sqlerrcode == ERRCODE_NOT_NULL_VIOLATION)
		check = "not_null";
	else if (error->sqlerrcode == ERRCODE_CHECK_VIOLATION)
		check = "partition";
	else if (is_policy(error))
		check = "row_security";
	else if (ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_PLPGSQL_ERROR ||
			 ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_TRIGGERED_ACTION_EXCEPTION)
		check = "trigger";
	else
		check = "insert";
	etl_reasons_add(reasons, check, error->column_name, NULL, error->message);
}
