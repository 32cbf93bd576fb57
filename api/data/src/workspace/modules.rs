//! Module settings: which parts of the product are enabled, and their settings. Contract section "Module
//! Settings" (W-MOD).

use api_kit::prelude::*;
use domain_data::modules::{self, Module, ModuleChanges, NewModule};

permissions! { ViewModules = "modules:view", ManageModules = "modules:manage" }

#[derive(Tags)]
enum Tag {
    /// Parts of the product that a workspace enables, and their settings.
    #[oai(rename = "Module Settings")]
    ModuleSettings,
}

pub struct ModulesApi;

#[OpenApi(prefix_path = "/modules", tag = "Tag::ModuleSettings")]
impl ModulesApi {
    /// List the workspace's modules
    ///
    /// Modules with settings, sorted by name.
    #[oai(path = "/", method = "get", operation_id = "list_modules")]
    async fn list(&self, can: Can<ViewModules>) -> Answer<Json<Vec<Module>>> {
        Ok(Json(modules::list(&mut can.read().await?).await?))
    }

    /// Show a module's settings
    #[oai(path = "/:module", method = "get", operation_id = "get_module")]
    async fn get(&self, can: Can<ViewModules>, module: Path<String>) -> Answer<Json<Module>> {
        Ok(Json(modules::get(&mut can.read().await?, &module).await?))
    }

    /// Set a module up
    #[oai(path = "/", method = "post", operation_id = "create_module", tag = "Fails::ModuleTaken")]
    async fn create(&self, can: Can<ManageModules>, new: Body<NewModule>) -> Answer<Created<Module>> {
        can.change(async |db| modules::create(db, new.0).await).await.map(Created)
    }

    /// Switch a module on or off
    ///
    /// Enables a disabled module, and disables an enabled one.
    #[oai(path = "/:module/toggle", method = "post", operation_id = "toggle_module")]
    async fn toggle(&self, can: Can<ManageModules>, module: Path<String>) -> Answer<Json<Module>> {
        can.change(async |db| modules::toggle(db, &module).await).await.map(Json)
    }

    /// Change a module's settings
    ///
    /// Given settings replace the present ones.
    #[oai(path = "/:module", method = "patch", operation_id = "update_module")]
    async fn update(
        &self,
        can: Can<ManageModules>,
        module: Path<String>,
        changes: Body<ModuleChanges>,
    ) -> Answer<Json<Module>> {
        can.change(async |db| modules::update(db, &module, changes.0).await).await.map(Json)
    }
}
