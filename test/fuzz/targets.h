/*-------------------------------------------------------------------------
 *
 * targets.h
 *    What libFuzzer calls, and the targets behind it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ETL_TARGETS_H
#define ETL_TARGETS_H

extern int LLVMFuzzerTestOneInput(const uint8 *bytes, size_t size);

/* target_values.c */
extern void fuzz_number(const uint8 *bytes, size_t size);
extern void fuzz_timestamp(const uint8 *bytes, size_t size);

#endif							/* ETL_TARGETS_H */
