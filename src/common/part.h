/*-------------------------------------------------------------------------
 *
 * part.h
 *    Loading the parts of etl that need a library of their own.
 *
 * Called by whoever meets something that only a part can read.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_COMMON_PART_H
#define ETL_COMMON_PART_H

#include "etl_part.h"

/*
 * The callbacks of a part: "archive", "pgp", "xml".  Raises 58P01, naming the
 * package, when it is not installed or its library is missing.  'needed_for'
 * is shown: "\"a.zip\" is an archive".
 */
extern const void *etl_part_find(const char *name, const char *needed_for);

#endif							/* ETL_COMMON_PART_H */
