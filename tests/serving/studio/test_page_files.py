import re

from retrain.serving.studio import page_files
from retrain.serving.studio.page_files import page_file, studio_page

FOLDER = page_files._FOLDER
MODULES = {path.name: path.read_text("utf-8") for path in FOLDER.glob("*.js")}


def test_modules_import_what_others_export_and_all_is_used():
    exported = {
        name: set(re.findall(r"^export (?:async )?(?:function|const|let) ([\w$]+)", text, re.M))
        for name, text in MODULES.items()
    }
    imported = {name: set() for name in MODULES}
    for name, text in MODULES.items():
        for names, source in re.findall(r'^import \{ (.+) \} from "\./(.+)";$', text, re.M):
            found = set(names.split(", "))
            assert found <= exported[source], name
            rest = re.sub(r"^import .*$", "", text, flags=re.M)
            assert [one for one in found if not re.search(rf"(?<![\w$]){re.escape(one)}(?![\w$])", rest)] == [], name
            imported[source] |= found
    assert {name: exported[name] - imported[name] for name in MODULES if exported[name] - imported[name]} == {}


def test_the_page_has_every_element_that_a_module_asks_for():
    pages = {
        is_read_only: studio_page({"folder": "x", "is_read_only": is_read_only}).decode()
        for is_read_only in (False, True)
    }
    made = set(re.findall(r'id: "([\w-]+)"', "".join(MODULES.values())))
    for name, text in MODULES.items():
        for wanted in set(re.findall(r'\$\("([\w-]+)"\)', text)) - made:
            assert f'id="{wanted}"' in pages[False], f"{name}: {wanted}"


def test_nothing_on_the_page_comes_from_elsewhere_or_is_put_in_as_html():
    style = page_file("studio.css")[0].decode()
    for text in (style, *MODULES.values(), (FOLDER / "studio.html").read_text("utf-8")):
        assert "//" not in re.sub(r"^\s*//.*$|\s// .*$|http://www.w3.org/2000/svg", "", text, flags=re.M)
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|@import|url\(", text)
