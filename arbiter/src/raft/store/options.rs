//! How RocksDB is opened. Knows its options; never what is stored.

use super::engine::{LOG, META, SNAP};
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBRecoveryMode, LogLevel, Options,
};

/// An idle node is to stay under 30 MiB: these are small on purpose, the data is.
const MEMTABLE_BYTES: usize = 1 << 20;
const MEMTABLES_BYTES_MAX: usize = 4 << 20;
const ARENA_BLOCK_BYTES: usize = 64 << 10;
const BLOCK_CACHE_BYTES: usize = 1 << 20;
/// Older write-ahead logs are freed by flushing memtables beyond this.
const WAL_BYTES_MAX: u64 = 16 << 20;
const OPEN_FILES_MAX: i32 = 64;

/// Of the database.
pub fn database() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    // A record torn by a crash at the very end is what an unfinished write looks like. The default
    // (point in time) also drops everything *after* damage in the middle, acknowledged or not.
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    options.set_track_and_verify_wals_in_manifest(true);
    options.set_recycle_log_file_num(0);
    options.set_paranoid_checks(true);
    options.set_manual_wal_flush(false);
    // One thread writes: what RocksDB does for several at once only costs time.
    options.set_allow_concurrent_memtable_write(false);
    options.set_enable_write_thread_adaptive_yield(false);
    options.set_max_total_wal_size(WAL_BYTES_MAX);
    options.set_db_write_buffer_size(MEMTABLES_BYTES_MAX);
    options.set_max_open_files(OPEN_FILES_MAX);
    options.set_max_background_jobs(2);
    options.set_max_file_opening_threads(1);
    options.set_table_cache_num_shard_bits(1);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options.set_keep_log_file_num(2);
    options.set_max_log_file_size(1 << 20);
    options.set_log_level(LogLevel::Warn);
    options.set_max_manifest_file_size(1 << 20);
    options
}

/// Of the column families.
pub fn families() -> Vec<ColumnFamilyDescriptor> {
    let cache = Cache::new_lru_cache(BLOCK_CACHE_BYTES);
    // RocksDB insists on `default`; it stays empty.
    ["default", META, LOG, SNAP]
        .into_iter()
        .map(|name| {
            let mut table = BlockBasedOptions::default();
            table.set_block_cache(&cache);
            let mut options = Options::default();
            options.set_block_based_table_factory(&table);
            options.set_write_buffer_size(MEMTABLE_BYTES);
            options.set_arena_block_size(ARENA_BLOCK_BYTES);
            options.set_max_write_buffer_number(2);
            ColumnFamilyDescriptor::new(name, options)
        })
        .collect()
}
