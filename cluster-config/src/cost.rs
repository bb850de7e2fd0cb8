//! What a month of the standby costs: prices, and sizes that nobody can be asked for. Knows keys;
//! never an amount.

use crate::scalar::Decimal;
use crate::section::section;

/// A key that has no default: what it is, as an example, and what leaving it out means.
type Unset = (&'static str, &'static str);

const fn price(example: &'static str) -> Unset {
    (example, "what it prices is missing from the total")
}

const fn size(example: &'static str) -> Unset {
    (example, "it is missing from the total")
}

const fn observed(example: &'static str) -> Unset {
    (example, "as its agents see it, else it is missing from the total")
}

section! {
    /// What a month of the standby costs, for `arbiter cost`: the prices of your contract, and the
    /// sizes of what runs in the standby region. A size of 0 says that there is none.
    Cost {
        /// The currency of every price.
        currency: String [default "EUR"],
        /// Price of a vCPU for an hour.
        vcpu_hour: Option<Decimal> [unset price("0.0416")],
        /// Price of a GiB of memory for an hour.
        memory_gib_hour: Option<Decimal> [unset price("0.0046")],
        /// Price of a GiB of disk for a month.
        disk_gib_month: Option<Decimal> [unset price("0.119")],
        /// Price of a GiB of object storage for a month.
        object_gib_month: Option<Decimal> [unset price("0.023")],
        /// Price of a GiB sent from the active region to the standby.
        transfer_gib: Option<Decimal> [unset price("0.02")],
        /// Price of a million DNS queries.
        dns_million_queries: Option<Decimal> [unset price("0.40")],
        /// Price of a hosted zone for a month.
        dns_zone_month: Option<Decimal> [unset price("0.50")],
        /// Price of a managed Kubernetes cluster for an hour, beside its nodes.
        kubernetes_hour: Option<Decimal> [unset ("0.10", "none is charged")],
        /// vCPUs of the standby's nodes while its services are at their minimum.
        kubernetes_vcpus: Option<Decimal> [unset size("4")],
        /// Memory of these nodes in GiB.
        kubernetes_memory_gib: Option<Decimal> [unset size("16")],
        /// Disks of these nodes in GiB.
        kubernetes_disk_gib: Option<Decimal> [unset ("100", "none")],
        /// vCPUs of the PostgreSQL replica, which is as large as its primary.
        postgres_vcpus: Option<Decimal> [unset size("8")],
        /// Memory of the replica in GiB.
        postgres_memory_gib: Option<Decimal> [unset size("32")],
        /// Disk of the replica in GiB.
        postgres_disk_gib: Option<Decimal> [unset observed("500")],
        /// WAL that is sent to it, in GiB a month.
        postgres_transfer_gib: Option<Decimal> [unset size("300")],
        /// Object storage in GiB.
        object_gib: Option<Decimal> [unset observed("2000")],
        /// Objects that are copied, in GiB a month.
        object_transfer_gib: Option<Decimal> [unset size("200")],
        /// vCPUs of the Redis replica.
        redis_vcpus: Option<Decimal> [unset size("2")],
        /// Memory of the Redis replica in GiB.
        redis_memory_gib: Option<Decimal> [unset observed("8")],
        /// What is sent to it, in GiB a month.
        redis_transfer_gib: Option<Decimal> [unset size("50")],
        /// DNS queries in millions a month.
        dns_million: Option<Decimal> [unset size("30")],
        /// Hosted zones.
        dns_zones: Option<Decimal> [unset size("1")],
    }
}
