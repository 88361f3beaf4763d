//! The rows of the kinds that show little more than a name and an age.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret, ServiceAccount};
use k8s_openapi::api::scheduling::v1::PriorityClass;

use super::{Column, Row, Tabular, age, columns, count, name};

impl Tabular for Namespace {
    fn columns() -> &'static [Column] {
        columns::NAMESPACE
    }

    fn row(&self, now: Timestamp) -> Row {
        let phase = self.status.as_ref().and_then(|status| status.phase.clone()).unwrap_or_default();
        Row::of([name(&self.metadata), phase.into(), age(&self.metadata, now)])
    }
}

impl Tabular for ConfigMap {
    fn columns() -> &'static [Column] {
        columns::CONFIG_MAP
    }

    fn row(&self, now: Timestamp) -> Row {
        let keys = length(self.data.as_ref()) + length(self.binary_data.as_ref());
        Row::of([name(&self.metadata), count(keys), age(&self.metadata, now)])
    }
}

impl Tabular for Secret {
    fn columns() -> &'static [Column] {
        columns::SECRET
    }

    fn row(&self, now: Timestamp) -> Row {
        let type_ = self.type_.clone().unwrap_or_default();
        Row::of([
            name(&self.metadata),
            type_.into(),
            count(length(self.data.as_ref())),
            age(&self.metadata, now),
        ])
    }
}

impl Tabular for ServiceAccount {
    fn columns() -> &'static [Column] {
        columns::SERVICE_ACCOUNT
    }

    fn row(&self, now: Timestamp) -> Row {
        let secrets = self.secrets.as_ref().map_or(0, Vec::len);
        Row::of([name(&self.metadata), count(secrets), age(&self.metadata, now)])
    }
}

impl Tabular for Lease {
    fn columns() -> &'static [Column] {
        columns::LEASE
    }

    fn row(&self, now: Timestamp) -> Row {
        let holder = self.spec.as_ref().and_then(|spec| spec.holder_identity.clone()).unwrap_or_default();
        Row::of([name(&self.metadata), holder.into(), age(&self.metadata, now)])
    }
}

impl Tabular for PriorityClass {
    fn columns() -> &'static [Column] {
        columns::PRIORITY_CLASS
    }

    fn row(&self, now: Timestamp) -> Row {
        Row::of([
            name(&self.metadata),
            self.value.unwrap_or_default().into(),
            self.global_default.unwrap_or_default().into(),
            age(&self.metadata, now),
            self.preemption_policy.clone().unwrap_or_default().into(),
        ])
    }
}

fn length<K, V>(map: Option<&BTreeMap<K, V>>) -> usize {
    map.map_or(0, BTreeMap::len)
}
