//! Recordsets: tables of typed records. Contract section "Recordsets" (W-RS).

use api_kit::prelude::*;
use domain_data::recordsets::{
    self, NewRecordset, Recordset, RecordsetChanges, RecordsetDetail, RecordsetFilter,
};

permissions! {
    ViewRecordsets = "recordsets:view",
    CreateRecordsets = "recordsets:create",
    EditRecordsets = "recordsets:edit",
    DeleteRecordsets = "recordsets:delete",
}

#[derive(Tags)]
enum Tag {
    /// Tables of records, and their fields.
    Recordsets,
}

pub struct RecordsetsApi;

#[OpenApi(prefix_path = "/recordsets", tag = "Tag::Recordsets")]
impl RecordsetsApi {
    /// List the workspace's recordsets
    ///
    /// Recordsets outside the trash, sorted by name.
    #[oai(path = "/", method = "get", operation_id = "list_recordsets")]
    async fn list(
        &self,
        can: Can<ViewRecordsets>,
        /// Page number, from 1.
        #[oai(default)]
        page: Query<PageNumber>,
        /// Recordsets per page.
        #[oai(default)]
        page_size: Query<PageSize>,
        /// Part of the name, the slug or the description.
        search: Query<Option<String>>,
        /// Activity filter: true for recordsets in use only, false for recordsets not in use only.
        is_active: Query<Option<bool>>,
    ) -> Answer<Json<Page<Recordset>>> {
        let filter = RecordsetFilter { search: search.as_deref(), is_active: is_active.0 };
        let page = page_request(page.0, page_size.0);
        let mut db = can.read().await?;
        Ok(Json(Page::new(page, recordsets::list(&mut db, filter, page).await?)))
    }

    /// Create a recordset
    #[oai(
        path = "/",
        method = "post",
        operation_id = "create_recordset",
        tag = "Fails::SlugTaken",
        tag = "Fails::LimitExceeded"
    )]
    async fn create(
        &self,
        can: Can<CreateRecordsets>,
        recordset: Body<NewRecordset>,
    ) -> Answer<Created<RecordsetDetail>> {
        can.change(async |db| recordsets::create(db, recordset.0).await).await.map(Created)
    }

    /// Show a recordset
    ///
    /// With its fields and the exact count of its records.
    #[oai(path = "/:recordset_slug", method = "get", operation_id = "get_recordset")]
    async fn get(
        &self,
        can: Can<ViewRecordsets>,
        /// Slug or id of the recordset.
        recordset_slug: Path<String>,
    ) -> Answer<Json<RecordsetDetail>> {
        let mut db = can.read().await?;
        Ok(Json(recordsets::get(&mut db, &recordset_slug).await?))
    }

    /// Change a recordset
    ///
    /// Absent fields stay unchanged; the slug never changes. Record fields given under an existing key are changed,
    /// others are added.
    #[oai(
        path = "/:recordset_slug",
        method = "patch",
        operation_id = "update_recordset",
        tag = "Fails::LimitExceeded"
    )]
    async fn update(
        &self,
        can: Can<EditRecordsets>,
        /// Slug or id of the recordset.
        recordset_slug: Path<String>,
        changes: Body<RecordsetChanges>,
    ) -> Answer<Json<RecordsetDetail>> {
        can.change(async |db| recordsets::update(db, &recordset_slug, changes.0).await).await.map(Json)
    }

    /// Move a recordset to the trash
    ///
    /// The records are moved with the recordset.
    #[oai(path = "/:recordset_slug", method = "delete", operation_id = "delete_recordset")]
    async fn delete(
        &self,
        can: Can<DeleteRecordsets>,
        /// Slug or id of the recordset.
        recordset_slug: Path<String>,
    ) -> Answer<NoContent> {
        can.change(async |db| recordsets::delete(db, &recordset_slug).await).await.map(|()| NoContent)
    }
}
