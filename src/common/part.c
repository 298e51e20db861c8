/*-------------------------------------------------------------------------
 *
 * part.c
 *    Loading the parts of etl that need a library of their own.
 *
 * A part is loaded once in a process, from the directory of etl's own
 * library and from nowhere else.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <unistd.h>

#include "fmgr.h"
#include "miscadmin.h"

#include "common/errors.h"
#include "common/part.h"

typedef struct Part
{
	const char *name;
	const char *library;
	const char *package;		/* of Debian */
	const void *callbacks;		/* NULL: not loaded yet */
} Part;

static Part parts[] = {
	{"archive", "libarchive", "libarchive13"},
	{"pgp", "gpgme", "libgpgme11 gpg gpg-agent"},
	{"xml", "libxml2", "libxml2"},
};

typedef const void *(*PartFunction)(void);

/*
 * load opens the library of a part; what the loader says becomes part of an
 * error that tells what to do.
 */
static PartFunction
load(const Part *part, const char *needed_for)
{
	MemoryContext context = CurrentMemoryContext;
	char	   *file = psprintf("$libdir/etl_%s", part->name);
	char	   *symbol = psprintf("etl_%s_part", part->name);
	PartFunction volatile function = NULL;

	PG_TRY();
	{
		function = (PartFunction) load_external_function(file, symbol, true, NULL);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FILE),
				 errmsg("%s, and the part etl_%s that reads such cannot be loaded", needed_for, part->name),
				 errdetail("%s", error->message),
				 errhint("It needs the library %s: apt-get install %s.", part->library, part->package)));
	}
	PG_END_TRY();
	return function;
}

const void *
etl_part_find(const char *name, const char *needed_for)
{
	Part	   *part = NULL;
	char		path[MAXPGPATH];

	for (int i = 0; i < lengthof(parts); i++)
		if (strcmp(parts[i].name, name) == 0)
			part = &parts[i];
	if (part == NULL)
		elog(ERROR, "there is no part \"%s\"", name);
	if (part->callbacks != NULL)
		return part->callbacks;
	snprintf(path, sizeof(path), "%s/etl_%s%s", pkglib_path, name, DLSUFFIX);
	if (access(path, F_OK) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FILE),
				 errmsg("%s, and the part etl_%s that reads such is not installed", needed_for, name),
				 errdetail("There is no \"%s\".", path),
				 errhint("It is built where the headers of %s are: 'make deps', then 'make install'.",
						 part->library)));
	part->callbacks = load(part, needed_for)();
	if (*(const uint32 *) part->callbacks != ETL_PART_ABI)
	{
		part->callbacks = NULL;
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FILE),
				 errmsg("%s, and the part etl_%s was built for another version of etl", needed_for, name),
				 errhint("Install the build that belongs to this version.")));
	}
	return part->callbacks;
}
