//! Amounts, and what is said where a number is missing.

use super::*;

const FILE: &str = include_str!("../policy_file/example.toml");

fn cost(keys: &str) -> Cost {
    let file = format!("{FILE}\n[cost]\n{keys}");
    let cluster = crate::policy_file::parse(&file, "cluster.toml");
    cluster.unwrap_or_else(|faults| panic!("{faults}")).cost.expect("it has one")
}

const PRICES: &str = "vcpu_hour = 0.04\nmemory_gib_hour = 0.005\ndisk_gib_month = 0.1\n\
    object_gib_month = 0.023\ntransfer_gib = 0.02\ndns_million_queries = 0.4\n\
    dns_zone_month = 0.5\n";
const SIZES: &str = "kubernetes_vcpus = 4\nkubernetes_memory_gib = 16\npostgres_vcpus = 8\n\
    postgres_memory_gib = 32\npostgres_disk_gib = 500\npostgres_transfer_gib = 300\n\
    object_gib = 2000\nobject_transfer_gib = 200\ndns_million = 30\ndns_zones = 1\n";

fn billed(keys: &str, kinds: &[&str], observed: &[(&str, u64)]) -> Bill {
    let observed = observed.iter().map(|(kind, bytes)| ((*kind).to_owned(), *bytes)).collect();
    bill(&cost(keys), &kinds.iter().copied().collect(), &observed)
}

fn amounts(bill: &Bill) -> Vec<String> {
    bill.rows.iter().map(|row| row.amount.to_string()).collect()
}

#[test]
fn the_rows_of_the_table_add_up() {
    let bill = billed(&format!("{PRICES}{SIZES}"), &["postgres", "object-store"], &[]);
    // 4·730·0.04 + 16·730·0.005; 8·730·0.04 + 32·730·0.005 + 500·0.1 + 300·0.02;
    // 2000·0.023 + 200·0.02; 30·0.4 + 0.5; nothing.
    assert_eq!(amounts(&bill), ["175.20", "406.40", "50.00", "12.50", "0.00"]);
    assert_eq!((bill.total.to_string(), bill.partial), ("644.10".to_owned(), false));
    assert!(bill.rows[4].absent, "no Redis in this cluster");
    assert_eq!(bill.rows[0].parts[0].amount.to_string(), "116.80");
}

#[test]
fn a_missing_price_or_size_names_its_key_and_makes_the_total_partial() {
    let prices = PRICES.replace("transfer_gib = 0.02\n", "");
    let sizes = SIZES.replace("postgres_memory_gib = 32\n", "");
    let bill = billed(&format!("{prices}{sizes}"), &["postgres"], &[]);
    assert!(bill.partial);
    assert_eq!(bill.rows[1].missing, ["postgres_memory_gib", "transfer_gib"]);
    assert_eq!(bill.rows[2].missing, ["transfer_gib"]);
    assert_eq!(amounts(&bill), ["175.20", "283.60", "46.00", "12.50", "0.00"]);
    let nothing = billed("", &["postgres", "redis"], &[]);
    assert_eq!(nothing.total.to_string(), "0.00");
    assert_eq!(nothing.rows[0].missing, ["kubernetes_vcpus", "kubernetes_memory_gib"]);
    assert_eq!(nothing.rows[4].missing.len(), 3, "Redis is in this cluster");
    assert!(nothing.rows[2].absent, "a bucket is not");
}

#[test]
fn nothing_of_it_is_said_with_a_zero() {
    let sizes = SIZES.replace("object_transfer_gib = 200", "object_transfer_gib = 0");
    let prices = PRICES.replace("transfer_gib = 0.02\n", "");
    let bill = billed(&format!("{prices}{sizes}"), &[], &[]);
    assert_eq!((bill.rows[2].missing.len(), bill.rows[2].parts.len()), (0, 1));
}

#[test]
fn a_size_that_agents_see_stands_in_for_one_that_the_file_does_not_say() {
    let sizes = SIZES.replace("postgres_disk_gib = 500\n", "");
    let seen = [("postgres", 3 << 29), ("object-store", 1 << 40)];
    let bill = billed(&format!("{PRICES}{sizes}"), &["postgres"], &seen);
    let disk = &bill.rows[1].parts[2];
    assert_eq!((disk.size.0.to_string().as_str(), disk.observed), ("1.5", true));
    assert_eq!(disk.amount.to_string(), "0.15");
    let stored = &bill.rows[2].parts[0];
    assert_eq!((stored.size.0.to_string().as_str(), stored.observed), ("2000", false));
    assert_eq!(gib(1), Decimal { micros: 1 }, "no size becomes nothing");
}

#[test]
fn optional_parts_count_where_they_are_said() {
    let more = "kubernetes_disk_gib = 100\nkubernetes_hour = 0.1\n";
    let bill = billed(&format!("{PRICES}{SIZES}{more}"), &[], &[]);
    assert_eq!(amounts(&bill)[0], "258.20");
    assert_eq!(bill.rows[0].parts.len(), 4);
}

#[test]
fn the_greatest_numbers_do_not_overflow() {
    let huge = format!("{PRICES}{SIZES}")
        .replace("= 0.04\n", "= 1000000000\n")
        .replace("_vcpus = 8", "_vcpus = 1000000000");
    let bill = billed(&huge, &[], &[("postgres", u64::MAX)]);
    assert!(bill.total.to_string().starts_with("730000002"), "{}", bill.total);
}
