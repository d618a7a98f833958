use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sqlx::{Sqlite, Transaction, sqlite::SqliteRow};

use crate::{Store, StoreError, VersionStatus, row::Columns};

/// Which versions of a model serve.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Deployment {
    /// The model's name.
    pub model: String,
    /// Counts the changes; 0 before the first.
    pub generation: i64,
    /// The version that answers.
    pub champion: Option<Champion>,
    /// The version that answers a part of the requests, on trial.
    pub canary: Option<Canary>,
    /// The champion before this one, to go back to.
    pub previous: Option<String>,
    /// The version that gets a copy of the requests and answers none.
    #[serde(default)]
    pub shadow: Option<Shadow>,
}

/// The version that answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Champion {
    /// The version.
    pub version: String,
    /// Since when.
    pub since: Timestamp,
    /// Why, as one sentence.
    pub reason: String,
    /// Who decided: `scheduler`, or a person's name.
    pub by: String,
}

/// A version on trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Canary {
    /// The version.
    pub version: String,
    /// Its share of the requests, 0 to 100.
    pub percent: f64,
    /// Since when it has this share.
    pub since: Timestamp,
    /// Why, as one sentence.
    pub reason: String,
}

/// A version that is compared with the one that answers, without an effect on answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shadow {
    /// The version.
    pub version: String,
    /// The share of the requests that it gets a copy of, 0 to 100.
    pub percent: f64,
    /// Since when.
    pub since: Timestamp,
    /// Why, as one sentence.
    pub reason: String,
}

/// The part that a version plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It answers.
    Champion,
    /// It answers a part of the requests, on trial.
    Canary,
    /// It gets a copy of requests and answers none.
    Shadow,
}

impl Role {
    /// The name used in the store, in answers and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Champion => "champion",
            Self::Canary => "canary",
            Self::Shadow => "shadow",
        }
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        [Self::Champion, Self::Canary, Self::Shadow].into_iter().find(|role| role.name() == name)
    }
}

/// Changes are compare-and-swap: `expected` is the generation that the caller decided on. When the store has moved on
/// but already shows what was asked for (a step repeated after a crash), that counts as success.
/// A query of deployments. It names its columns: a process of another version may add some while a connection that knows
/// the table without them is open, and a row is then longer than its reader was told.
macro_rules! deployments {
    ($which:literal) => {
        concat!(
            "SELECT model, generation, champion, champion_since, champion_reason, champion_by, previous, canary, \
             canary_percent, canary_since, canary_reason, shadow, shadow_percent, shadow_since, shadow_reason \
             FROM deployments ",
            $which
        )
    };
}

const ALL: &str = deployments!("ORDER BY model");
const BY_MODEL: &str = deployments!("WHERE model = ?1");

/// The time as the file keeps it, in whole microseconds: what is returned is what is read later.
fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
}

impl Store {
    /// The deployment of `model`; generation 0 without champion where nothing was ever deployed.
    pub async fn deployment(&self, model: &str) -> Result<Deployment, StoreError> {
        let row = sqlx::query(BY_MODEL)
            .bind(model)
            .fetch_optional(self.pool())
            .await
            .map_err(self.failed("read a deployment"))?;
        row.as_ref().map_or_else(|| Ok(Deployment { model: model.into(), ..Default::default() }), read)
    }

    /// The deployments of all models.
    pub async fn deployments(&self) -> Result<Vec<Deployment>, StoreError> {
        let rows = sqlx::query(ALL).fetch_all(self.pool()).await.map_err(self.failed("list deployments"))?;
        rows.iter().map(read).collect()
    }

    /// Makes `version` the champion. The one before it becomes `previous`; canary and shadow end, since they were
    /// measured against another champion.
    pub async fn set_champion(
        &self,
        model: &str,
        expected: i64,
        version: &str,
        reason: &str,
        by: &str,
    ) -> Result<Deployment, StoreError> {
        let mut change = self.change_deployment(model).await?;
        let current = change.before.champion.as_ref().map(|champion| champion.version.clone());
        let alone = change.before.canary.is_none() && change.before.shadow.is_none();
        if current.as_deref() == Some(version) && alone {
            return Ok(change.before);
        }
        change.expect(expected)?;
        change.require_version(self, version).await?;
        if current.as_deref() != Some(version) {
            change.after.previous = current;
            change.after.champion = Some(Champion {
                version: version.into(),
                since: now(),
                reason: reason.into(),
                by: by.into(),
            });
        }
        (change.after.canary, change.after.shadow) = (None, None);
        change.mark(self, version, VersionStatus::Promoted).await?;
        change.commit(self).await
    }

    /// Gives `version` a share of the requests, or changes its share.
    pub async fn set_canary(
        &self,
        model: &str,
        expected: i64,
        version: &str,
        percent: f64,
        reason: &str,
    ) -> Result<Deployment, StoreError> {
        check_percent(percent)?;
        let mut change = self.change_deployment(model).await?;
        let present = change.before.canary.as_ref();
        if present.is_some_and(|canary| canary.version == version && canary.percent == percent) {
            return Ok(change.before);
        }
        change.expect(expected)?;
        change.require_version(self, version).await?;
        change.after.canary =
            Some(Canary { version: version.into(), percent, since: now(), reason: reason.into() });
        change.commit(self).await
    }

    /// Ends the canary's trial; its version gets `status`.
    pub async fn clear_canary(
        &self,
        model: &str,
        expected: i64,
        status: VersionStatus,
    ) -> Result<Deployment, StoreError> {
        let mut change = self.change_deployment(model).await?;
        let Some(canary) = change.after.canary.take() else {
            return Ok(change.before);
        };
        change.expect(expected)?;
        change.mark(self, &canary.version, status).await?;
        change.commit(self).await
    }

    /// Gives `version` a copy of a share of the requests, or changes the share.
    pub async fn set_shadow(
        &self,
        model: &str,
        expected: i64,
        version: &str,
        percent: f64,
        reason: &str,
    ) -> Result<Deployment, StoreError> {
        check_percent(percent)?;
        let mut change = self.change_deployment(model).await?;
        let present = change.before.shadow.as_ref();
        if present.is_some_and(|shadow| shadow.version == version && shadow.percent == percent) {
            return Ok(change.before);
        }
        change.expect(expected)?;
        change.require_version(self, version).await?;
        change.after.shadow =
            Some(Shadow { version: version.into(), percent, since: now(), reason: reason.into() });
        change.commit(self).await
    }

    /// Takes the shadow away.
    pub async fn clear_shadow(&self, model: &str, expected: i64) -> Result<Deployment, StoreError> {
        let mut change = self.change_deployment(model).await?;
        if change.after.shadow.take().is_none() {
            return Ok(change.before);
        }
        change.expect(expected)?;
        change.commit(self).await
    }

    /// Goes back to the champion before this one; canary and shadow end. The champion that is left becomes `rolled_back`.
    pub async fn rollback(
        &self,
        model: &str,
        expected: i64,
        reason: &str,
        by: &str,
    ) -> Result<Deployment, StoreError> {
        let mut change = self.change_deployment(model).await?;
        change.expect(expected)?;
        let (Some(previous), Some(left)) = (change.after.previous.take(), change.after.champion.take())
        else {
            return Err(StoreError::NoPrevious { model: model.into() });
        };
        change.after.champion =
            Some(Champion { version: previous, since: now(), reason: reason.into(), by: by.into() });
        (change.after.canary, change.after.shadow) = (None, None);
        change.mark(self, &left.version, VersionStatus::RolledBack).await?;
        change.commit(self).await
    }

    async fn change_deployment(&self, model: &str) -> Result<Change, StoreError> {
        let mut transaction = self.write(CHANGE).await?;
        let row = sqlx::query(BY_MODEL)
            .bind(model)
            .fetch_optional(&mut *transaction)
            .await
            .map_err(self.failed(CHANGE))?;
        let before = row
            .as_ref()
            .map_or_else(|| Ok(Deployment { model: model.into(), ..Default::default() }), read)?;
        Ok(Change { transaction, after: before.clone(), before })
    }
}

fn check_percent(percent: f64) -> Result<(), StoreError> {
    if (0.0..=100.0).contains(&percent) {
        return Ok(());
    }
    Err(StoreError::CanaryPercent { percent })
}

const CHANGE: &str = "change a deployment";

/// A deployment read under the write lock, and what it shall become.
struct Change {
    transaction: Transaction<'static, Sqlite>,
    before: Deployment,
    after: Deployment,
}

impl Change {
    fn expect(&self, expected: i64) -> Result<(), StoreError> {
        if self.before.generation == expected {
            return Ok(());
        }
        let (model, actual) = (self.before.model.clone(), self.before.generation);
        Err(StoreError::StaleDeployment { model, expected, actual })
    }

    /// Only a version with an artifact can serve.
    async fn require_version(&mut self, store: &Store, version: &str) -> Result<(), StoreError> {
        let known: i64 = sqlx::query_scalar(
            "SELECT COUNT(*) FROM versions WHERE model = ?1 AND version = ?2 AND artifact IS NOT NULL",
        )
        .bind(&self.before.model)
        .bind(version)
        .fetch_one(&mut *self.transaction)
        .await
        .map_err(store.failed(CHANGE))?;
        if known == 0 {
            return Err(StoreError::UnknownVersion {
                model: self.before.model.clone(),
                version: version.into(),
            });
        }
        Ok(())
    }

    async fn mark(&mut self, store: &Store, version: &str, status: VersionStatus) -> Result<(), StoreError> {
        sqlx::query("UPDATE versions SET status = ?3 WHERE model = ?1 AND version = ?2")
            .bind(&self.before.model)
            .bind(version)
            .bind(status.name())
            .execute(&mut *self.transaction)
            .await
            .map_err(store.failed(CHANGE))?;
        Ok(())
    }

    async fn commit(mut self, store: &Store) -> Result<Deployment, StoreError> {
        let failed = store.failed(CHANGE);
        self.after.generation = self.before.generation + 1;
        let Deployment { model, generation, champion, canary, previous, shadow } = &self.after;
        sqlx::query(
            "INSERT OR REPLACE INTO deployments (model, generation, champion, champion_since, champion_reason, \
             champion_by, previous, canary, canary_percent, canary_since, canary_reason, shadow, shadow_percent, \
             shadow_since, shadow_reason) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
        )
        .bind(model)
        .bind(generation)
        .bind(champion.as_ref().map(|champion| &champion.version))
        .bind(champion.as_ref().map(|champion| champion.since.as_microsecond()))
        .bind(champion.as_ref().map(|champion| &champion.reason))
        .bind(champion.as_ref().map(|champion| &champion.by))
        .bind(previous)
        .bind(canary.as_ref().map(|canary| &canary.version))
        .bind(canary.as_ref().map(|canary| canary.percent))
        .bind(canary.as_ref().map(|canary| canary.since.as_microsecond()))
        .bind(canary.as_ref().map(|canary| &canary.reason))
        .bind(shadow.as_ref().map(|shadow| &shadow.version))
        .bind(shadow.as_ref().map(|shadow| shadow.percent))
        .bind(shadow.as_ref().map(|shadow| shadow.since.as_microsecond()))
        .bind(shadow.as_ref().map(|shadow| &shadow.reason))
        .execute(&mut *self.transaction)
        .await
        .map_err(&failed)?;
        self.transaction.commit().await.map_err(&failed)?;
        Ok(self.after)
    }
}

fn read(row: &SqliteRow) -> Result<Deployment, StoreError> {
    let columns = Columns(row);
    let champion = match columns.get::<Option<String>>("champion")? {
        None => None,
        Some(version) => Some(Champion {
            version,
            since: columns.time("champion_since")?,
            reason: columns.get("champion_reason")?,
            by: columns.get("champion_by")?,
        }),
    };
    let canary = match columns.get::<Option<String>>("canary")? {
        None => None,
        Some(version) => Some(Canary {
            version,
            percent: columns.get("canary_percent")?,
            since: columns.time("canary_since")?,
            reason: columns.get("canary_reason")?,
        }),
    };
    let shadow = match columns.get::<Option<String>>("shadow")? {
        None => None,
        Some(version) => Some(Shadow {
            version,
            percent: columns.get("shadow_percent")?,
            since: columns.time("shadow_since")?,
            reason: columns.get("shadow_reason")?,
        }),
    };
    Ok(Deployment {
        model: columns.get("model")?,
        generation: columns.get("generation")?,
        champion,
        canary,
        previous: columns.get("previous")?,
        shadow,
    })
}
