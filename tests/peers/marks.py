"""Values that would identify a patient, made to be searched for."""

from __future__ import annotations


class Marks:
    """Values that identify nobody and occur nowhere else: what must never be printed."""

    def __init__(self) -> None:
        self.values = {
            "PatientName": "QXNAMEQX^MARKED",
            "PatientID": "QXPATIENTIDQX",
            "PatientBirthDate": "18991231",
            "OtherPatientIDs": "QXOTHERIDQX",
            "AccessionNumber": "QXACCESSIONQX",
            "InstitutionName": "QXINSTITUTIONQX",
            "ReferringPhysicianName": "QXREFERRERQX",
            "StudyDescription": "QXDESCRIPTIONQX",
            "PatientComments": "QXCOMMENTQX",
        }

    def found(self, *texts: str) -> list[str]:
        """The keywords whose marked value occurs in one of the texts."""
        whole = "\n".join(texts)
        words = {keyword: value.partition("^")[0] for keyword, value in self.values.items()}
        return [keyword for keyword, word in words.items() if word in whole]

    def assert_absent(self, *texts: str) -> None:
        found = self.found(*texts)
        assert not found, f"printed: {', '.join(found)}"
