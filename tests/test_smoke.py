def test_versions_come_back(models, tmp_path):
    from tests.world import pull_with_dvc_alone
    import time
    t=time.time(); models.agree(); print("agree", time.time()-t)
    models.git("checkout", "v1")
    assert models.read("models/a.pt").startswith("weights 1")
    assert set(models.listing("data")) == {"x.csv", "part1.csv"}
    models.devml("checkout", "v3")
    assert models.in_step()
    place = pull_with_dvc_alone(models, tmp_path/"c", tmp_path/"r")
    assert (place/"models/a.pt").read_bytes() == models.bytes("models/a.pt")
