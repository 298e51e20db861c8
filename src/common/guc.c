/*-------------------------------------------------------------------------
 *
 * guc.c
 *    The settings of etl.
 *
 * Whatever names a file, a host or a directory is for superusers only:
 * they say what the server may reach, not what a pipeline wants.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "utils/guc.h"

#include "common/compat.h"
#include "common/guc.h"

char	   *etl_allowed_directories = NULL;
char	   *etl_allowed_hosts = NULL;
char	   *etl_secret_key_file = NULL;
char	   *etl_environment = NULL;
char	   *etl_params = NULL;
char	   *etl_project = NULL;
char	   *etl_test_now = NULL;
char	   *etl_tls_ca_file = NULL;
int			etl_history_max_age_min = 90 * 24 * 60;
int			etl_history_max_runs = 100000;
int			etl_history_max_entries = 1000000;
int			etl_max_record_size_kb = 16384;
int			etl_max_workers = 4;
int			etl_parallel_load_min_kb = 8192;
int			etl_parallel_load_block_kb = 128;
int			etl_publish_lock_timeout_ms = 60000;
int			etl_run_timeout_ms = 0;
bool		etl_adopt_roles = false;
bool		etl_log_json = false;
bool		etl_environment_of_session = false;

/* the environment that the server's configuration names: production; empty: it names none */
static char production[NAMEDATALEN] = "";

/*
 * check_environment notes who says the name: the session, or the client that
 * began it, or the configuration of server, database or role.
 */
static bool
check_environment(char **value, void **extra, GucSource source)
{
	bool	   *of_session = etl_guc_extra(sizeof(bool));

	if (of_session == NULL)
		return false;
	*of_session = source >= PGC_S_CLIENT;
	*extra = of_session;
	return true;
}

/*
 * assign_environment tells an environment from production.
 */
static void
assign_environment(const char *value, void *extra)
{
	etl_environment_of_session = extra != NULL && *(bool *) extra;
	if (!etl_environment_of_session)
		strlcpy(production, value ? value : "", sizeof(production));
	else if (strcmp(production, value) == 0)
		etl_environment_of_session = false;
}

/*
 * etl_guc_define registers every setting; called once, from _PG_init.
 */
void
etl_guc_define(void)
{
	DefineCustomBoolVariable(
		"etl.adopt_roles",
		"Lets CREATE EXTENSION use roles named etl_* that can log in or have members already.",
		NULL, &etl_adopt_roles, false, PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("etl.allowed_directories",
							   "Comma-separated directories that file sources may read.",
							   "Empty means none.",
							   &etl_allowed_directories, "", PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("etl.allowed_hosts", "Comma-separated hosts that sources may reach.",
							   "A private or loopback address is reached only when its host is "
							   "listed here. * allows every public host.",
							   &etl_allowed_hosts, "", PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("etl.environment",
							   "Name of this environment, for example prod or dev.",
							   "Set by a session or its client to another word than the configuration "
							   "of server, database or role says: what it does happens beside production.",
							   &etl_environment, "", PGC_USERSET, 0, check_environment,
							   assign_environment, NULL);
	DefineCustomIntVariable("etl.history_max_age",
							"Runs, tasks, check results and log entries that are older are removed.",
							"0 keeps them for ever.", &etl_history_max_age_min, 90 * 24 * 60, 0, INT_MAX,
							PGC_SUSET, GUC_UNIT_MIN, NULL, NULL, NULL);
	DefineCustomIntVariable(
		"etl.history_max_entries",
		"How many log entries, check results, alerts and deliveries are kept at most, each.",
		"0 sets no limit.", &etl_history_max_entries, 1000000, 0, INT_MAX, PGC_SUSET, 0, NULL, NULL,
		NULL);
	DefineCustomIntVariable("etl.history_max_runs", "How many runs are kept at most.",
							"0 sets no limit.", &etl_history_max_runs, 100000, 0, INT_MAX, PGC_SUSET, 0,
							NULL, NULL, NULL);
	DefineCustomBoolVariable("etl.log_json",
							 "Writes what goes into etl.logs to the server log too, a JSON object a line.",
							 NULL, &etl_log_json, false, PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("etl.max_record_size",
							"The largest record that is landed; larger ones are rejects.",
							NULL, &etl_max_record_size_kb, 16384, 1, 262144, PGC_SUSET, GUC_UNIT_KB,
							NULL, NULL, NULL);
	DefineCustomIntVariable("etl.max_workers",
							"How many task workers the server runs at a time, over all databases.",
							"They come out of max_worker_processes, as do the launcher, a scheduler for "
							"each database with the extension, and a worker for chores.",
							&etl_max_workers, 4, 0, 1024, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("etl.project",
							   "The project that this session deploys; etl.begin_project() sets it.",
							   NULL, &etl_project, "", PGC_USERSET, GUC_NO_SHOW_ALL, NULL, NULL, NULL);
	DefineCustomStringVariable("etl.params",
							   "Parameters of the run as JSON text, read by etl.param().",
							   NULL, &etl_params, "{}", PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("etl.parallel_load_block",
							"How much the two processes of a load hand over at a time.",
							"Smaller ones cost time; tests set them.",
							&etl_parallel_load_block_kb, 128, 1, 4096, PGC_USERSET,
							GUC_UNIT_KB | GUC_NOT_IN_SAMPLE, NULL, NULL, NULL);
	DefineCustomIntVariable("etl.parallel_load_min",
							"CSV files from this size on are decoded by a second process.",
							"Where the run may use one more worker and one is free.",
							&etl_parallel_load_min_kb, 8192, 0, INT_MAX, PGC_USERSET, GUC_UNIT_KB,
							NULL, NULL, NULL);
	DefineCustomIntVariable("etl.publish_lock_timeout",
							"How long a publication tries to get its short exclusive lock.",
							NULL, &etl_publish_lock_timeout_ms, 60000, 1, INT_MAX, PGC_USERSET, GUC_UNIT_MS,
							NULL, NULL, NULL);
	DefineCustomIntVariable("etl.run_timeout",
							"How long a run that is asked for in this session may take; 0 means no limit.",
							NULL, &etl_run_timeout_ms, 0, 0, INT_MAX, PGC_USERSET, GUC_UNIT_MS,
							NULL, NULL, NULL);
	DefineCustomStringVariable("etl.secret_key_file",
							   "File with the key (32 bytes, or 64 hexadecimal digits) that seals secrets.",
							   "It must lie outside the data directory.",
							   &etl_secret_key_file, "", PGC_SUSET, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomStringVariable("etl.test_now",
							   "The clock that schedules, SLAs and retries read; empty means the real one.",
							   NULL, &etl_test_now, "", PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("etl.tls_ca_file",
							   "File with the certificate authorities that https sources are verified by.",
							   "Empty means those of the operating system.",
							   &etl_tls_ca_file, "", PGC_SUSET, 0, NULL, NULL, NULL);
	MarkGUCPrefixReserved("etl");
}
