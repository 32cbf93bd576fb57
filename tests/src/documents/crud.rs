//! A walk over every section that the documents show to be a plain one: a collection with POST and GET, and items with
//! PATCH, PUT or DELETE. What it holds is created, read, listed, changed and deleted by the least role that may and by a
//! key, is not there for another tenant, is refused to a caller without the permission, and keeps the rules that its
//! schemas tell. A section's own tests check what is particular to it.

mod people;
mod rules;
mod sample;
mod section;

use std::collections::BTreeSet;

use domain::access::Role;
use jobs::Surface;
use serde_json::{Map, Value, json};

use self::{
    people::People,
    sample::{OF_INVITED, Sample, sample},
    section::{LEFT_OUT, Section, sections, walked_sections},
};
use super::{
    FOR_PEOPLE, Operation, SURFACES, answers::Contract, audit::writes_are_noted, document, operations,
};
use crate::{Client, Reply, TestApp};

/// The operations whose answers the walk holds against the document.
pub(super) fn walked(surface: Surface) -> BTreeSet<String> {
    let document = document(surface);
    let operations = operations(&document);
    let of_section = |Section { collection, create, list, read, change, delete, jobs, .. }: Section| {
        let create = (collection != OF_INVITED).then_some(create);
        let plain = [create, Some(list), read, change, delete].into_iter().flatten();
        plain.chain(jobs).map(|operation| operation.id.clone()).collect::<Vec<_>>()
    };
    walked_sections(&document, &operations).flat_map(of_section).collect()
}

/// Creates, changes and deletes in each section of a surface by that client; the owner makes what is needed for it.
pub(super) async fn write_all(app: &TestApp, contract: &mut Contract, owner: &Client, client: &Client) {
    let people = People { by_role: vec![(Role::Owner, client.clone())], stranger: app.anonymous() };
    let document = document(contract.surface);
    let operations = operations(&document);
    for section in walked_sections(&document, &operations) {
        let sample = sample(app, owner, &document, &section).await;
        let mut walk = Walk { section, sample, item: String::new() };
        walk.create(contract, &people).await;
        walk.change(contract, &people).await;
        walk.run_jobs(contract, &people).await;
        walk.delete(contract, &people).await;
    }
}

/// What an answer is about, without the envelope of the Platform API.
fn thing(reply: &Reply) -> Value {
    let body = reply.json();
    let inner = if body["success"] == true { &body["data"] } else { &body };
    // A new key is beside its token.
    if inner["key"].is_object() { inner["key"].clone() } else { inner.clone() }
}

/// Whether two objects are equal in all members that both have.
fn agree(one: &Value, other: &Value) -> bool {
    let members = one.as_object().expect("an object");
    members.iter().all(|(name, value)| other.get(name).is_none_or(|other| other == value))
}

#[track_caller]
fn refused(who: &str, operation: &Operation, reply: &Reply, status: u16, code: &str) {
    let found = (reply.status, reply.code());
    assert_eq!(found, (status, Some(code.to_owned())), "{}: {who}: {}", operation.id, reply.text);
}

/// One walk: a section, what is created in it, and where that is then.
struct Walk<'a> {
    section: Section<'a>,
    sample: Sample,
    item: String,
}

impl Walk<'_> {
    async fn call(&self, client: &Client, operation: &Operation) -> Reply {
        let Sample { new, change, .. } = &self.sample;
        self.send(client, operation, if operation.method == "post" { new } else { change }).await
    }

    /// The same with another body, where one is taken.
    async fn send(&self, client: &Client, operation: &Operation, body: &Value) -> Reply {
        let Section { collection, parameter, .. } = &self.section;
        let below = operation.path.strip_prefix(collection).expect("an operation of the section");
        let path = match below.strip_prefix(&format!("/{{{parameter}}}")) {
            Some(below) => format!("{}{below}", self.item),
            None => format!("{}{below}", self.sample.collection),
        };
        match operation.method.as_str() {
            "post" => client.post(&path, body.clone()).await,
            "get" => client.get(&path).await,
            "patch" => client.patch(&path, body.clone()).await,
            "put" => client.put(&path, body.clone()).await,
            _ => client.delete(&path).await,
        }
    }

    /// The same of what needs no body.
    async fn act(&self, client: &Client, action: &Operation) -> Reply {
        self.send(client, action, &json!({})).await
    }

    fn operations(&self) -> impl Iterator<Item = &Operation> {
        let Section { create, list, read, change, delete, .. } = &self.section;
        [Some(*create), Some(*list), *read, *change, *delete].into_iter().flatten()
    }

    /// Those that name an item.
    fn of_item(&self) -> impl Iterator<Item = &Operation> {
        self.operations().filter(|operation| operation.path != self.section.collection)
    }

    /// The names by which a body may have what the item's path ends with.
    fn id_of(&self, thing: &Value) -> Option<String> {
        let parameter = self.section.parameter;
        let last = parameter.rsplit('_').next().unwrap_or(parameter);
        [parameter, last, "id"].into_iter().find_map(|name| thing[name].as_str()).map(str::to_owned)
    }

    /// The item, as the list of that person has it.
    async fn listed(&self, client: &Client) -> Option<Value> {
        let reply = self.call(client, self.section.list).await;
        assert_eq!(reply.status, 200, "{}: {}", self.section.list.id, reply.text);
        let list = thing(&reply);
        let items = list["items"].as_array().or(list.as_array()).cloned();
        let items = items.unwrap_or_else(|| panic!("{}: no list: {list}", self.section.list.id));
        let last = self.item.rsplit('/').next();
        items.into_iter().find(|item| self.id_of(item).as_deref() == last)
    }

    /// The item, as it is read, or listed where it is not.
    async fn present(&self, people: &People) -> Value {
        let listed = self.listed(people.least(self.section.list)).await;
        let listed = listed.unwrap_or_else(|| panic!("{} has no {}", self.section.list.id, self.item));
        let Some(read) = self.section.read else { return listed };
        let reply = self.call(people.least(read), read).await;
        assert_eq!(reply.status, 200, "{}: {}", read.id, reply.text);
        let read = thing(&reply);
        assert!(agree(&read, &listed), "{}: {read} is listed as {listed}", self.section.collection);
        read
    }

    /// Creates the sample, unless it is there already.
    async fn create(&mut self, contract: &mut Contract, people: &People) {
        let there = if let Some(there) = &self.sample.there {
            there.clone()
        } else {
            let create = self.section.create;
            let reply = self.call(people.least(create), create).await;
            contract.hold(&create.id, &reply);
            assert_eq!(reply.status, 201, "{}", create.id);
            let created = thing(&reply);
            assert!(agree(&self.sample.new, &created), "{}: {created} of {}", create.id, self.sample.new);
            created
        };
        let id =
            self.id_of(&there).unwrap_or_else(|| panic!("{}: {there} has no id", self.section.create.id));
        self.item = format!("{}/{id}", self.sample.collection);
        let present = self.present(people).await;
        assert!(agree(&there, &present), "{}: {there} is read as {present}", self.section.collection);
        for operation in [Some(self.section.list), self.section.read].into_iter().flatten() {
            contract.hold(&operation.id, &self.call(people.least(operation), operation).await);
        }
    }

    /// Another tenant finds nothing, and nothing comes of what they try.
    async fn keep_from_strangers(&self, people: &People) {
        let before = self.present(people).await;
        for operation in self.of_item() {
            let reply = self.call(&people.stranger, operation).await;
            refused("another tenant", operation, &reply, 404, "record_not_found");
        }
        for action in &self.section.actions {
            let reply = self.act(&people.stranger, action).await;
            refused("another tenant", action, &reply, 404, "record_not_found");
        }
        if self.section.collection.contains('{') {
            for operation in [self.section.list, self.section.create] {
                let reply = self.call(&people.stranger, operation).await;
                refused("another tenant", operation, &reply, 404, "record_not_found");
            }
        } else {
            assert_eq!(self.listed(&people.stranger).await, None, "{}: another tenant", self.section.list.id);
        }
        assert_eq!(self.present(people).await, before, "{}: another tenant", self.section.collection);
    }

    /// A caller without the permission that an operation asks for is refused by it, and nothing comes of the attempt.
    async fn keep_from_the_unpermitted(&self, people: &People) {
        const ROLE: &str = "/permissions/roles/viewer";
        let before = self.present(people).await;
        let Section { actions, jobs, .. } = &self.section;
        let others: Vec<_> = actions.iter().chain(jobs).copied().collect();
        for operation in self.operations().chain(others.iter().copied()) {
            let asked = ["x-permission", "x-permission-own", "x-permission-or"];
            let asked = asked.into_iter().filter_map(|name| operation.body[name].as_str());
            let held = asked.filter(|permission| Role::Viewer.may(permission));
            let denied: Map<_, _> = held.map(|permission| (permission.to_owned(), false.into())).collect();
            if !denied.is_empty() {
                people.owner().put(ROLE, json!({ "permissions": denied })).await.expect(200);
            }
            let viewer = &people.by_role[0].1;
            let reply = if others.iter().any(|other| other.id == operation.id) {
                self.act(viewer, operation).await
            } else {
                self.call(viewer, operation).await
            };
            refused("without the permission", operation, &reply, 403, "forbidden");
            people.owner().post(&format!("{ROLE}/reset"), json!({})).await.expect(200);
        }
        assert_eq!(self.present(people).await, before, "{}: no permission", self.section.collection);
    }

    async fn change(&self, contract: &mut Contract, people: &People) {
        let Some(change) = self.section.change else { return };
        let before = self.present(people).await;
        assert!(!agree(&self.sample.change, &before), "{}: {before} is so already", change.id);
        let reply = self.call(people.least(change), change).await;
        contract.hold(&change.id, &reply);
        let changed = thing(&reply);
        assert!(agree(&self.sample.change, &changed), "{}: {changed}", change.id);
        let present = self.present(people).await;
        assert!(agree(&changed, &present), "{}: {changed} is read as {present}", change.id);
        let also = ["updated_at", "updated_by", "version"];
        for (name, value) in before.as_object().expect("an object") {
            let is_meant = self.sample.change.get(name).is_some() || also.contains(&name.as_str());
            assert!(is_meant || present[name] == *value, "{}: {name} has changed, too", change.id);
        }
    }

    /// Starts each job, and waits for its end.
    async fn run_jobs(&self, contract: &mut Contract, people: &People) {
        for start in &self.section.jobs {
            let by = people.least(start);
            let started = contract.hold(&start.id, &self.act(by, start).await);
            let end = by.follow(&started).await;
            assert_eq!(end["status"], "COMPLETED", "{}: {end}", start.id);
        }
    }

    async fn delete(&self, contract: &mut Contract, people: &People) {
        let Some(delete) = self.section.delete else { return };
        let by = people.least(delete);
        contract.hold(&delete.id, &self.call(by, delete).await);
        let listed = self.listed(people.least(self.section.list)).await;
        if let Some(mark) = self.sample.stays_with {
            let listed = listed.unwrap_or_else(|| panic!("{}: {} is gone", delete.id, self.item));
            assert!(!listed[mark].is_null(), "{}: {listed} has no {mark}", delete.id);
            return;
        }
        assert_eq!(listed, None, "{}: {} is listed still", delete.id, self.item);
        for operation in self.of_item() {
            let reply = self.call(people.owner(), operation).await;
            refused("after the end", operation, &reply, 404, "record_not_found");
        }
    }
}

#[test]
fn every_plain_section_is_walked_or_has_a_reason_not_to_be() {
    let mut left = LEFT_OUT.iter().map(|(section, _)| *section).collect::<BTreeSet<_>>();
    for surface in SURFACES {
        let document = document(surface);
        let operations = operations(&document);
        for section in sections(&document, &operations) {
            let is_left = left.remove(section.collection);
            let is_walkable =
                FOR_PEOPLE.contains(&surface) && section.create.body["x-permission"].is_string();
            assert!(is_left || is_walkable, "{surface:?} {} is not walked", section.collection);
        }
    }
    assert!(left.is_empty(), "no sections: {left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_section_keeps_what_is_created_in_it_for_those_who_may_until_it_is_deleted() {
    let app = TestApp::start().await;
    let people = People::of(&app).await;
    app.run("update control.workspaces set plan = 'enterprise'").await;
    for surface in FOR_PEOPLE {
        let document = document(surface);
        let operations = operations(&document);
        let mut contract = Contract::new(surface);
        for section in walked_sections(&document, &operations) {
            let sample = sample(&app, people.owner(), &document, &section).await;
            let mut walk = Walk { section, sample, item: String::new() };
            walk.create(&mut contract, &people).await;
            walk.keep_from_strangers(&people).await;
            walk.keep_from_the_unpermitted(&people).await;
            walk.keep_the_rules(&document, &people).await;
            walk.keep_unique(&document, &people).await;
            walk.change(&mut contract, &people).await;
            walk.run_jobs(&mut contract, &people).await;
            walk.delete(&mut contract, &people).await;
        }
        assert_eq!(*contract.held(), walked(surface), "what is said to be walked is held");
        writes_are_noted(&app, &contract, "user").await;
    }
}
