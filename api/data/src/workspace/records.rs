//! Records: the rows of recordsets. Contract section "Records" (W-REC).

use api_kit::prelude::*;
use domain::{RecordId, RecordsetId};
use domain_data::records::{self, NewRecord, Record, RecordChanges, RecordFilter, SortOrder};

permissions! {
    ViewRecords = "records:view",
    CreateRecords = "records:create",
    EditRecords = "records:edit" or own,
    DeleteRecords = "records:delete" or own,
}

#[derive(Tags)]
enum Tag {
    /// Rows of recordsets.
    Records,
}

pub struct RecordsApi;

#[OpenApi(prefix_path = "/records", tag = "Tag::Records")]
impl RecordsApi {
    /// List records
    ///
    /// Records of one recordset or, without `recordset_id`, of all recordsets; the newest first unless sorted
    /// otherwise.
    #[oai(path = "/", method = "get", operation_id = "list_records")]
    #[allow(clippy::too_many_arguments)] // the contract's parameters
    async fn list(
        &self,
        can: Can<ViewRecords>,
        /// Page number, from 1.
        #[oai(default)]
        page: Query<PageNumber>,
        /// Records per page.
        #[oai(default)]
        page_size: Query<PageSize>,
        /// Recordset id; required for filters and sorting by its fields.
        recordset_id: Query<Option<RecordsetId>>,
        /// Text that one of the values contains, regardless of case.
        search: Query<Option<String>>,
        /// Sort key: `created_at`, `updated_at` or the key of a field.
        sort_by: Query<Option<String>>,
        /// Sort order, `asc` or `desc`; blank values come last in both.
        #[oai(default)]
        sort_order: Query<SortOrder>,
        /// Field filters as a JSON object of values by field key, for example `{"stage": ["lead", "won"],
        /// "city": null}`: a list matches any of its values, null matches blank values.
        column_filters: Query<Option<String>>,
    ) -> Answer<Json<Page<Record>>> {
        let filter = RecordFilter {
            recordset_id: recordset_id.0,
            search: search.as_deref(),
            column_filters: column_filters.as_deref(),
            sort_by: sort_by.as_deref(),
            sort_order: sort_order.0,
        };
        let page = page_request(page.0, page_size.0);
        Ok(Json(Page::new(page, records::list(can.read().await?, filter, page).await?)))
    }

    /// Create a record
    #[oai(path = "/", method = "post", operation_id = "create_record", tag = "Fails::LimitExceeded")]
    async fn create(&self, can: Can<CreateRecords>, record: Body<NewRecord>) -> Answer<Created<Record>> {
        can.change(async |db| records::create(db, record.0).await).await.map(Created)
    }

    /// Show a record
    #[oai(path = "/:record_id", method = "get", operation_id = "get_record")]
    async fn get(&self, can: Can<ViewRecords>, record_id: Path<RecordId>) -> Answer<Json<Record>> {
        let mut db = can.read().await?;
        Ok(Json(records::get(&mut db, record_id.0).await?))
    }

    /// Change a record
    ///
    /// The previous values are kept as a version. With `expected_version`, the answer is 409
    /// `version_conflict` if the record has another version by now.
    #[oai(
        path = "/:record_id",
        method = "patch",
        operation_id = "update_record",
        tag = "Fails::LimitExceeded",
        tag = "Fails::VersionConflict"
    )]
    async fn update(
        &self,
        can: Can<EditRecords>,
        record_id: Path<RecordId>,
        changes: Body<RecordChanges>,
    ) -> Answer<Json<Record>> {
        let update = async |db: &mut _| records::update(db, can.reach(), record_id.0, changes.0).await;
        can.change(update).await.map(Json)
    }

    /// Delete a record
    ///
    /// The versions are kept, and the unique values become available again.
    #[oai(path = "/:record_id", method = "delete", operation_id = "delete_record")]
    async fn delete(&self, can: Can<DeleteRecords>, record_id: Path<RecordId>) -> Answer<NoContent> {
        can.change(async |db| records::delete(db, can.reach(), record_id.0).await).await.map(|()| NoContent)
    }
}
